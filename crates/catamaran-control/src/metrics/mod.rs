//! What the process counts, shown as a page in Prometheus' text format or as OpenMetrics.
//!
//! The counters themselves live where they are counted; [`MetricsSource`] reads them out when the
//! page is asked for. [`Endpoint`] serves the page, and whether the process is alive and ready.

mod base;
mod endpoint;
mod exposition;
mod names;

pub(crate) use base::Base;
pub use base::CountedBefore;
pub(crate) use endpoint::pages;
pub use endpoint::{Endpoint, Readiness};
pub use exposition::{Exposition, Format, Histogram, Label, LabelValue};
pub use names::{Kind, Metric};

/// Something that counts.
pub trait MetricsSource: Send + Sync {
    /// Adds its samples to the page. Must not wait.
    fn collect(&self, out: &mut Exposition);
}

/// The page of what `source` has counted.
pub(crate) fn page_of(source: &dyn MetricsSource) -> String {
    let mut page = Exposition::new();
    source.collect(&mut page);
    page.finish(Format::Prometheus)
}
