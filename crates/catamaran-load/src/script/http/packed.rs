//! Bodies that are packed: `Content-Encoding` of answers, the parameter `compression` of requests.

use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::Compression;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder, ZlibEncoder};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// A body as it was before it was packed, in so many ways as `encodings` names.
pub(super) fn unpack(encodings: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = body.to_vec();
    if encodings.split(',').count() > MAX_WAYS {
        return Err(format!("it is packed in more than {MAX_WAYS} ways"));
    }
    for encoding in encodings.split(',').rev() {
        let packed = body.as_slice();
        body = match encoding.trim().to_ascii_lowercase().as_str() {
            "br" => read_all(Decompressor::new(packed, BUFFER_BYTES))?,
            "gzip" | "x-gzip" => read_all(MultiGzDecoder::new(packed))?,
            // Some servers leave out what zlib has before and behind.
            "deflate" => read_all(ZlibDecoder::new(packed))
                .or_else(|_| read_all(DeflateDecoder::new(packed)))?,
            "zstd" => unpack_zstd(packed, MAX_BYTES)?,
            // What nobody can unpack is passed over, as in k6: it may say that nothing was done.
            _ => continue,
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
            "zstd" => compress_to_vec(plain, CompressionLevel::Fastest),
            "br" => {
                return Err(
                    "bodies are not packed with `br` here, only unpacked; take gzip, deflate or zstd"
                        .to_owned(),
                );
            }
            other => {
                return Err(format!(
                    "no compression is called `{other}`; there are gzip, deflate and zstd"
                ));
            }
        };
    }
    Ok(body)
}

/// Frames of zstd, one after the other, of which some are to be skipped.
fn unpack_zstd(mut packed: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while !packed.is_empty() {
        let whole = packed;
        let mut decoder = match StreamingDecoder::new(packed) {
            Ok(decoder) => decoder,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let skipped = usize::try_from(length).ok().and_then(|length| {
                    // Its kind and its length are before it.
                    whole.get(length.checked_add(8)?..)
                });
                packed = skipped.ok_or("it ends before its end")?;
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        body.extend(read_most(&mut decoder, most - body.len() as u64)?);
        let (rest, frame) = decoder.into_parts();
        let said = frame.get_checksum_from_data();
        if said.is_some() && said != frame.get_calculated_checksum() {
            return Err("its checksum is another".to_owned());
        }
        packed = rest;
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
/// How often a body may be packed: each time is work for one who says so in a few bytes.
const MAX_WAYS: usize = 8;
/// How much is unpacked at a time.
const BUFFER_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for encodings in ["gzip", "deflate", "zstd", "deflate, gzip, zstd"] {
            let packed = pack(encodings, b"text".to_vec()).unwrap();
            assert_ne!(packed, b"text");
            assert_eq!(unpack(encodings, &packed).unwrap(), b"text", "{encodings}");
        }
        assert!(pack("lzma", Vec::new()).unwrap_err().contains("gzip"));
        assert!(
            pack("br", Vec::new())
                .unwrap_err()
                .contains("only unpacked")
        );
        assert_eq!(unpack("lzma", b"as it came").unwrap(), b"as it came");
    }

    #[test]
    fn ways_that_are_not_known_are_passed_over() {
        let packed = pack("gzip", b"text".to_vec()).unwrap();
        assert_eq!(
            unpack("identity, gzip, aws-chunked", &packed).unwrap(),
            b"text"
        );
    }

    #[test]
    fn what_another_program_packed_is_unpacked() {
        assert_eq!(unpack("br", BR).unwrap(), b"packed text");
        assert_eq!(unpack("zstd", ZSTD).unwrap(), b"packed text");
        let mut two = ZSTD.to_vec();
        // A frame that is to be skipped, and another.
        two.extend_from_slice(b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc");
        two.extend_from_slice(ZSTD);
        assert_eq!(unpack("zstd", &two).unwrap(), b"packed textpacked text");
    }

    #[test]
    fn a_body_that_is_cut_or_changed_is_refused() {
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            assert!(
                unpack(encoding, b"this is none of it").is_err(),
                "{encoding}"
            );
        }
        for (encoding, packed) in [("br", BR), ("zstd", ZSTD)] {
            for len in 1..packed.len() {
                assert!(
                    unpack(encoding, &packed[..len]).is_err(),
                    "{encoding} {len}"
                );
            }
        }
        let mut changed = ZSTD.to_vec();
        changed[12] ^= 1;
        assert!(unpack("zstd", &changed).unwrap_err().contains("checksum"));
        let skipped = b"\x50\x2a\x4d\x18\xff\xff\xff\xffabc";
        assert!(
            unpack("zstd", skipped)
                .unwrap_err()
                .contains("before its end")
        );
    }

    #[test]
    fn a_body_that_unpacks_without_end_is_refused() {
        let packed = pack("gzip", vec![0; 1001]).unwrap();
        let unpacked = |most| read_most(MultiGzDecoder::new(packed.as_slice()), most);
        assert!(unpacked(1000).unwrap_err().contains("larger"));
        assert_eq!(unpacked(1001).unwrap().len(), 1001);
        let packed = pack("zstd", vec![0; 1001]).unwrap().repeat(2);
        assert!(unpack_zstd(&packed, 2001).unwrap_err().contains("larger"));
        assert_eq!(unpack_zstd(&packed, 2002).unwrap().len(), 2002);
        let often = ["gzip"; 9].join(",");
        assert!(unpack(&often, &packed).unwrap_err().contains("8 ways"));
    }

    /// `packed text`, by the programs `brotli` and `zstd`.
    const BR: &[u8] = b"\x0b\x05\x80packed text\x03";
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\x59\x00\x00packed text\xc1\x68\x4e\x51";
}
