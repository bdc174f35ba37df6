//! What the binary does: serve the API, serve a store, take mails.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::Api;
use crate::args::{Args, Command, ProbeArgs, ServeArgs, SinkArgs, StoreAddress, StoreArgs};
use crate::job::Job;
use crate::mail::Mailer;
use crate::server;
use crate::sink::{self, Mails};
use crate::stop::{Requests, Stop};
use crate::store::{self, Embedded, Store};

/// Runs a command until it is to end.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let end = Requests::new(args.exit_with_parent)?;
    match args.command.unwrap_or(Command::Serve(args.serve)) {
        Command::Serve(args) => serve(args, end).await,
        Command::Store(args) => serve_store(&args, end).await,
        Command::Sink(args) => serve_sink(&args, end).await,
        Command::Probe(args) => probe(&args).await,
    }
}

async fn serve(args: ServeArgs, end: Requests) -> anyhow::Result<()> {
    let listener = bind(args.listen).await?;
    let address = listener.local_addr()?;
    let name = args.name.unwrap_or_else(default_name);
    let store = store::open(&args.store, args.store_timeout, args.keys_for)?;
    let (stopping, is_stopping) = watch::channel(false);
    let job = match &args.smtp {
        Some(relay) => {
            let mailer = Mailer::new(relay, &args.from)?;
            let job = Job::new(Arc::clone(&store), mailer, &name);
            Some(tokio::spawn(job.run(is_stopping.clone())))
        }
        None => {
            tracing::warn!("nothing is mailed without an SMTP relay; name one with --smtp");
            None
        }
    };
    let api = Api {
        store,
        name,
        cors_origin: args.cors_origin,
        request_timeout: args.request_timeout,
        max_requests: usize::try_from(args.max_requests)?,
        stopping: is_stopping,
    };
    let router = api.router()?;
    warn_of_shared_file(&args.store);
    ready(address, "");
    let stop = async {
        let how = end.wait().await;
        // `/ready` says 503 and the job is given back, while requests are served as before.
        stopping.send_replace(true);
        if how == Stop::Gracefully {
            let delay = args.stop_delay;
            tracing::info!(?delay, "not ready any more; going on until balancers know");
            sleep(delay).await;
        }
    };
    server::serve(listener, router, stop).await;
    if let Some(job) = job {
        job.await.context("the mail job ended badly")?;
    }
    Ok(())
}

/// One file is for one replica; what goes wrong with two should be known before.
fn warn_of_shared_file(store: &StoreAddress) {
    if let StoreAddress::File(path) = store {
        let path = path.display();
        tracing::info!(%path, "the store is a file of this replica alone; `alerts store` or etcd is for several");
    }
}

async fn serve_store(args: &StoreArgs, end: Requests) -> anyhow::Result<()> {
    let listener = bind(args.listen).await?;
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&args.data, args.keys_for)?);
    ready(listener.local_addr()?, "");
    let router = store::router(store);
    server::serve(listener, router, async {
        end.wait().await;
    })
    .await;
    Ok(())
}

async fn serve_sink(args: &SinkArgs, end: Requests) -> anyhow::Result<()> {
    let smtp = bind(args.listen).await?;
    let http = bind(args.http).await?;
    let mails = Mails::default();
    let shown = http.local_addr()?;
    ready(
        smtp.local_addr()?,
        &format!(", mails on http://{shown}/mails"),
    );
    let router = sink::router(mails.clone());
    tokio::select! {
        () = sink::serve(smtp, mails) => {}
        () = server::serve(http, router, async {
        end.wait().await;
    }) => {}
    }
    Ok(())
}

/// The health check of an image without a shell.
async fn probe(args: &ProbeArgs) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(args.timeout)
        .build()?;
    client.get(&args.url).send().await?.error_for_status()?;
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; another process may, or choose port 0")
    })
}

/// Tells whoever started us, in one line on standard error, where we listen.
fn ready(address: SocketAddr, more: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "alerts: ready on {address}{more}");
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
