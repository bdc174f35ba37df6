//! Bodies that are packed: `Content-Encoding` of answers, the parameter `compression` of requests.

use std::io::Read;

use flate2::Compression;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder, ZlibEncoder};

/// A body as it was before it was packed, in so many ways as `encodings` names.
pub(super) fn unpack(encodings: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = body.to_vec();
    for encoding in encodings.split(',').rev() {
        let packed = body.as_slice();
        body = match encoding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => read_all(MultiGzDecoder::new(packed))?,
            // Some servers leave out what zlib has before and behind.
            "deflate" => read_all(ZlibDecoder::new(packed))
                .or_else(|_| read_all(DeflateDecoder::new(packed)))?,
            // The script sees as it came what nobody can unpack here.
            _ => return Ok(body),
        };
    }
    Ok(body)
}

/// A body packed in the ways that `encodings` names, one after the other.
pub(in crate::script) fn pack(encodings: &str, body: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut body = body;
    for encoding in encodings.split(',') {
        let plain = body.as_slice();
        body = match encoding.trim() {
            "gzip" => read_all(flate2::read::GzEncoder::new(plain, Compression::default()))?,
            "deflate" => read_all(ZlibEncoder::new(plain, Compression::default()))?,
            other => {
                return Err(format!(
                    "no compression is called `{other}`; there are gzip and deflate"
                ));
            }
        };
    }
    Ok(body)
}

/// A few bytes unpack to gigabytes if somebody wants that.
fn read_all(packed: impl Read) -> Result<Vec<u8>, String> {
    read_most(packed, MAX_BYTES)
}

fn read_most(packed: impl Read, most: u64) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let read = packed.take(most + 1).read_to_end(&mut body);
    read.map_err(|error| error.to_string())?;
    if body.len() as u64 > most {
        return Err(format!("it is larger than {most} bytes"));
    }
    Ok(body)
}

/// What a packed body may amount to.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for encodings in ["gzip", "deflate", "deflate, gzip"] {
            let packed = pack(encodings, b"text".to_vec()).unwrap();
            assert_ne!(packed, b"text");
            assert_eq!(unpack(encodings, &packed).unwrap(), b"text", "{encodings}");
        }
        assert!(pack("lzma", Vec::new()).unwrap_err().contains("gzip"));
        assert!(unpack("gzip", b"no").is_err());
        assert_eq!(unpack("br", b"as it came").unwrap(), b"as it came");
    }

    #[test]
    fn a_body_that_unpacks_without_end_is_refused() {
        let packed = pack("gzip", vec![0; 1001]).unwrap();
        let unpacked = |most| read_most(MultiGzDecoder::new(packed.as_slice()), most);
        assert!(unpacked(1000).unwrap_err().contains("larger"));
        assert_eq!(unpacked(1001).unwrap().len(), 1001);
    }
}
