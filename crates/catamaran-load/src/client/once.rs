//! One request on a connection of its own, for what is no part of the load.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;

use super::{
    Alpn, Connection, Endpoint, Failure, Kept, ProxyHeader, RequestText, TlsClient, Url, exchange,
    set_timeout,
};

/// Sends a request and returns the status and what came with it.
///
/// # Errors
/// Why there was no answer, in words.
pub async fn send_once(
    url: &Url,
    request: &RequestText,
    body: &[u8],
    verifies: bool,
    timeout: Duration,
) -> Result<(u16, Kept), String> {
    let addrs = (url.host.as_str(), url.port).to_socket_addrs();
    let mut addrs = addrs.map_err(|error| error.to_string())?;
    let addr = addrs.next().ok_or("the name has no address")?;
    let tls = url
        .is_tls
        .then(|| TlsClient::verifying(verifies))
        .transpose()?;
    let mut kept = Kept::default();
    let work = async {
        let opened = Connection::open(&Endpoint::Tcp(addr), None, ProxyHeader::None).await?;
        let mut connection = match &tls {
            Some(client) => {
                opened
                    .connection
                    .secure(client, &url.host, Alpn::Http1)
                    .await?
            }
            None => opened.connection,
        };
        let kept = Some(&mut kept);
        exchange(&mut connection, &request.head, body, request.kind, kept).await
    };
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX / 2);
    let answer = set_timeout(now_nanos().saturating_add(nanos), work).await;
    let answer = answer.map_err(|failure: Failure| failure.to_string())?;
    Ok((answer.status, kept))
}
