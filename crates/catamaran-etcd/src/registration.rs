//! What a server writes of itself: its address alone (`10.0.0.5:8080`), or a JSON object such as
//! `{"address":"10.0.0.5:8080","weight":2}`.

use catamaran_core::fleet::Registration;
use catamaran_core::model::Weight;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The JSON object. Fields that are not here are left out, so that others may have theirs.
#[derive(Debug, Deserialize, Serialize)]
struct Document {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
}

/// Reads a value.
///
/// # Errors
/// What is wrong, with the remedy.
pub fn read(value: &[u8]) -> Result<Registration, String> {
    let text = std::str::from_utf8(value).map_err(|_| "the value is no text".to_owned())?;
    let text = text.trim();
    let document = if text.starts_with('{') {
        serde_json::from_str(text)
            .map_err(|error| format!("the value is not as described: {error}"))?
    } else {
        Document {
            address: text.to_owned(),
            weight: None,
            leaving: false,
        }
    };
    let address = document.address;
    let address = match address.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => address,
        _ => {
            let shown: String = address.chars().take(60).collect();
            return Err(format!(
                "`{shown}` is no address; write it as `10.0.0.5:8080`"
            ));
        }
    };
    let weight = document.weight.map(|weight| {
        Weight::new(weight).ok_or_else(|| format!("weight {weight} is not 0 to 256"))
    });
    Ok(Registration {
        address,
        weight: weight.transpose()?,
        is_leaving: document.leaving,
    })
}

/// Writes a value.
#[must_use]
pub fn write(registration: &Registration) -> Vec<u8> {
    let document = Document {
        address: registration.address.to_string(),
        weight: registration.weight.map(Weight::as_u16),
        leaving: registration.is_leaving,
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_and_an_object_are_read() {
        let plain = read(b"10.0.0.5:8080\n").unwrap();
        assert_eq!((plain.weight, plain.is_leaving), (None, false));
        let full = read(br#"{"address":"[::1]:80","weight":2,"leaving":true,"zone":"x"}"#).unwrap();
        assert_eq!(full.weight, Weight::new(2));
        assert!(full.is_leaving);
        assert_eq!(read(&write(&full)), Ok(full));
        assert_eq!(write(&plain), br#"{"address":"10.0.0.5:8080"}"#);
    }

    #[test]
    fn what_is_no_registration_is_refused_with_the_remedy() {
        for (value, told) in [
            (
                &b"host:80"[..],
                "`host:80` is no address; write it as `10.0.0.5:8080`",
            ),
            (
                b"10.0.0.5:0",
                "`10.0.0.5:0` is no address; write it as `10.0.0.5:8080`",
            ),
            (
                b"{}",
                "the value is not as described: missing field `address`",
            ),
            (
                br#"{"address":"10.0.0.5:80","weight":300}"#,
                "weight 300 is not 0 to 256",
            ),
            (b"\xff", "the value is no text"),
        ] {
            assert!(read(value).unwrap_err().starts_with(told));
        }
    }
}
