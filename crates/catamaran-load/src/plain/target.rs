//! The targets of a run without a script, ready to be asked.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::options::{PlainOptions, Protocol, UsageError};
use crate::client::{Endpoint, RequestText, TlsClient, Url, websocket};

/// One target.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its URL, or address of a raw protocol.
    pub(super) name: String,
    /// Where connections go.
    pub(super) endpoint: Endpoint,
    /// What TLS begins with and the host that it is spoken with, of `https`.
    pub(super) tls: Option<(TlsClient, String)>,
    /// The request, of HTTP.
    pub(super) request: Option<RequestText>,
    /// Where the handshake of a WebSocket goes.
    pub(super) socket: Option<Url>,
    /// Asked so often, relative to the others.
    pub(super) weight: u64,
}

/// Resolves the targets and writes their requests.
pub(super) fn prepare(options: &PlainOptions) -> Result<Vec<Target>, UsageError> {
    let weights = options.weights.iter().map(|&weight| u64::from(weight));
    let weights = weights.chain(std::iter::repeat(1));
    options
        .targets
        .iter()
        .zip(weights)
        .map(|(text, weight)| match options.protocol {
            Protocol::Http => http(options, text, weight),
            Protocol::WebSocket => socket(options, text, weight),
            Protocol::Tcp { .. } | Protocol::Udp => raw(options, text, weight),
        })
        .collect()
}

fn http(options: &PlainOptions, text: &str, weight: u64) -> Result<Target, UsageError> {
    let url = Url::parse(text)?;
    let exchange = &options.exchange;
    let body_len = exchange.body.as_ref().map(Vec::len);
    let mut fields = exchange.fields.clone();
    if !exchange.keeps_connections {
        fields.push(("Connection".to_owned(), "close".to_owned()));
    }
    let request = RequestText::new(&exchange.method, &url, &fields, body_len, USER_AGENT)?;
    let endpoint = match &exchange.unix {
        Some(path) => Endpoint::Unix(Arc::new(path.clone())),
        None => Endpoint::Tcp(resolve(&url.host, url.port)?),
    };
    let tls = if url.is_tls {
        if exchange.unix.is_some() {
            let text = "https over a unix socket is not supported; write http".to_owned();
            return Err(UsageError::Other(text));
        }
        let client = TlsClient::verifying(exchange.verifies).map_err(UsageError::Other)?;
        Some((client, url.host.clone()))
    } else {
        None
    };
    Ok(Target {
        name: url.to_string(),
        endpoint,
        tls,
        request: Some(request),
        socket: None,
        weight,
    })
}

fn socket(options: &PlainOptions, text: &str, weight: u64) -> Result<Target, UsageError> {
    let target = http(options, &websocket::http_url(text)?, weight)?;
    Ok(Target {
        name: text.to_owned(),
        request: None,
        socket: Some(Url::parse(&target.name)?),
        ..target
    })
}

fn raw(options: &PlainOptions, text: &str, weight: u64) -> Result<Target, UsageError> {
    let endpoint = match &options.exchange.unix {
        Some(path) => Endpoint::Unix(Arc::new(path.clone())),
        None => {
            let form = || {
                let text = format!("`{text}` is no target of --tcp or --udp; write HOST:PORT");
                UsageError::Other(text)
            };
            let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
            let port = port.parse().map_err(|_| form())?;
            Endpoint::Tcp(resolve(host.trim_matches(['[', ']']), port)?)
        }
    };
    Ok(Target {
        name: text.to_owned(),
        endpoint,
        tls: None,
        request: None,
        socket: None,
        weight,
    })
}

/// The first address of a name, IPv4 before IPv6 as in k6.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, UsageError> {
    let error = |source| UsageError::Lookup {
        name: host.to_owned(),
        source,
    };
    let addrs: Vec<_> = (host, port).to_socket_addrs().map_err(error)?.collect();
    let v4 = addrs.iter().find(|addr| addr.is_ipv4());
    v4.or_else(|| addrs.first())
        .copied()
        .ok_or_else(|| error(std::io::ErrorKind::NotFound.into()))
}

pub(super) const USER_AGENT: &str = concat!("catamaran-load/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::options::tests::ordinary;

    #[test]
    fn targets_are_resolved_before_the_start() {
        let mut options = ordinary();
        options.targets = vec![
            "http://127.0.0.1:8080/a".to_owned(),
            "http://[::1]:1/".to_owned(),
        ];
        options.weights = vec![3, 1];
        let targets = prepare(&options).unwrap();
        assert_eq!(
            targets[0].endpoint,
            Endpoint::Tcp("127.0.0.1:8080".parse().unwrap())
        );
        assert_eq!(
            targets[1].endpoint,
            Endpoint::Tcp("[::1]:1".parse().unwrap())
        );
        assert_eq!((targets[0].weight, targets[1].weight), (3, 1));
        assert!(targets[0].tls.is_none());
        options.targets = vec!["https://127.0.0.1/".to_owned()];
        let targets = prepare(&options).unwrap();
        assert_eq!(targets[0].tls.as_ref().unwrap().1, "127.0.0.1");
        let https = Endpoint::Tcp("127.0.0.1:443".parse().unwrap());
        assert_eq!(targets[0].endpoint, https);
        options.protocol = Protocol::Udp;
        options.targets = vec!["127.0.0.1".to_owned()];
        assert!(
            prepare(&options)
                .unwrap_err()
                .to_string()
                .contains("HOST:PORT")
        );
    }
}
