//! Files, shared arrays, bytes and digests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use rquickjs_core::{Ctx, Exception, Result, Value};

use super::{Host, Natives, buffer, must_not_run, now};
use crate::script::http::pack;
use crate::script::seam;
use crate::summary::md5;

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    install_files(natives)?;
    install_arrays(natives)?;
    install_bytes(natives)
}

fn install_files<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let read = |ctx: &Ctx<'js>, host: &Host, path: &str| -> Result<Vec<u8>> {
        must_not_run(ctx, "open()")?;
        let path = path.strip_prefix("file://").unwrap_or(path);
        let path = directory_of_caller(ctx, host).join(path);
        let told = |error| {
            let text = format!("open {}: {error}", path.display());
            Exception::throw_message(ctx, &text)
        };
        host.library().files.read(&path).map_err(told)
    };
    natives.add("openText", move |ctx: Ctx<'js>, path: String| {
        let bytes = read(&ctx, &now(), &path)?;
        Ok::<_, rquickjs_core::Error>(String::from_utf8_lossy(&bytes).into_owned())
    })?;
    natives.add("openBytes", move |ctx: Ctx<'js>, path: String| {
        let bytes = read(&ctx, &now(), &path)?;
        buffer(&ctx, &bytes)
    })
}

/// The directory of the module that called, as far as it is known; that of the script otherwise.
fn directory_of_caller(ctx: &Ctx<'_>, host: &Host) -> PathBuf {
    let callers = (0..4).filter_map(|level| ctx.script_or_module_name(level));
    let names = callers.filter_map(|name| name.to_string().ok());
    let file = names.map(PathBuf::from).find(|name| name.is_absolute());
    let directory = file.as_deref().and_then(Path::parent);
    directory.unwrap_or_else(|| host.directory()).to_owned()
}

fn install_arrays<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    natives.add("hasArray", move |name: String| {
        now().library.array(&name).is_some()
    })?;
    natives.add(
        "keepArray",
        move |ctx: Ctx<'js>, name: String, elements: Vec<String>| {
            must_not_run(&ctx, "making a SharedArray")?;
            now().library.keep_array(name, elements);
            Ok::<_, rquickjs_core::Error>(())
        },
    )?;
    natives.add("arrayLen", move |name: String| {
        now().library.array(&name).unwrap_or_default().len()
    })?;
    // A function for each array, so that its name is looked up once.
    natives.add("array", move |ctx: Ctx<'js>, name: String| {
        let array: Arc<[String]> = now().library.array(&name).unwrap_or_default();
        rquickjs_core::Function::new(ctx, move |at: u32| array.get(at as usize).cloned())
    })
}

fn install_bytes<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    natives.add("decode", |bytes: Value<'js>| {
        String::from_utf8_lossy(&bytes_of(&bytes)).into_owned()
    })?;
    natives.add("encode", |ctx: Ctx<'js>, text: Value<'js>| {
        buffer(&ctx, &bytes_of(&text))
    })?;
    natives.add("toBase64", |bytes: Value<'js>, kind: String| {
        engine(&kind).encode(bytes_of(&bytes))
    })?;
    natives.add(
        "fromBase64",
        |ctx: Ctx<'js>, text: String, kind: String| match engine(&kind).decode(&text) {
            Ok(bytes) => buffer(&ctx, &bytes),
            Err(error) => Err(Exception::throw_message(&ctx, &error.to_string())),
        },
    )?;
    natives.add(
        "digest",
        |ctx: Ctx<'js>, algorithm: String, bytes: Value<'js>| {
            let digest = Digest::named(&ctx, &algorithm)?;
            buffer(&ctx, &digest.of(&bytes_of(&bytes)))
        },
    )?;
    natives.add(
        "hmac",
        |ctx: Ctx<'js>, algorithm: String, key: Value<'js>, bytes: Value<'js>| {
            let digest = Digest::named(&ctx, &algorithm)?;
            buffer(&ctx, &digest.hmac(&bytes_of(&key), &bytes_of(&bytes)))
        },
    )?;
    natives.add(
        "pack",
        |ctx: Ctx<'js>, encodings: String, body: Value<'js>| match pack(&encodings, bytes_of(&body))
        {
            Ok(packed) => buffer(&ctx, &packed),
            Err(why) => Err(Exception::throw_message(&ctx, &why)),
        },
    )?;
    // Paths into JSON, as gjson has them.
    natives.add("select", |text: String, path: String| {
        // As in k6, a page of errors has nothing under any path, and is no reason to throw.
        if !gjson::valid(&text) {
            return None;
        }
        let found = gjson::get(&text, &path);
        found.exists().then(|| found.json().to_owned())
    })?;
    natives.add("random", |ctx: Ctx<'js>, len: u32| {
        if len == 0 {
            return Err(Exception::throw_range(
                &ctx,
                "no random bytes are none; ask for one at least",
            ));
        }
        if len > MAX_RANDOM {
            let text = format!("{len} random bytes are too many; {MAX_RANDOM} at most");
            return Err(Exception::throw_range(&ctx, &text));
        }
        let mut bytes = vec![0; len as usize];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
        filled.map_err(|_| Exception::throw_message(&ctx, "the system gives no random bytes"))?;
        buffer(&ctx, &bytes)
    })
}

/// The bytes of a text or a buffer.
fn bytes_of(value: &Value<'_>) -> Vec<u8> {
    let text = value.as_string().map(rquickjs_core::String::to_string);
    match text {
        Some(text) => text.unwrap_or_default().into_bytes(),
        None => seam::bytes_of(value).unwrap_or_default(),
    }
}

fn engine(kind: &str) -> &'static base64::engine::GeneralPurpose {
    match kind {
        "rawstd" => &STANDARD_NO_PAD,
        "url" => &URL_SAFE,
        "rawurl" => &URL_SAFE_NO_PAD,
        _ => &STANDARD,
    }
}

/// A way to digest bytes.
enum Digest {
    Md5,
    Ring(&'static ring::digest::Algorithm),
    /// What ring leaves out, and the bytes of its block.
    Old(fn(&[u8]) -> Vec<u8>, usize),
}

impl Digest {
    fn named(ctx: &Ctx<'_>, name: &str) -> Result<Self> {
        use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, SHA512_256};
        Ok(match name {
            "md4" => Self::Old(digest_by::<md4::Md4>, 64),
            "md5" => Self::Md5,
            "ripemd160" => Self::Old(digest_by::<ripemd::Ripemd160>, 64),
            "sha1" => Self::Ring(&SHA1_FOR_LEGACY_USE_ONLY),
            "sha256" => Self::Ring(&SHA256),
            "sha384" => Self::Ring(&SHA384),
            "sha512" => Self::Ring(&SHA512),
            "sha512_224" => Self::Old(digest_by::<sha2::Sha512_224>, 128),
            "sha512_256" => Self::Ring(&SHA512_256),
            _ => {
                let text = format!(
                    "no digest is called {name}; there are md4, md5, sha1, sha256, sha384, sha512, \
                     sha512_224, sha512_256 and ripemd160"
                );
                return Err(Exception::throw_message(ctx, &text));
            }
        })
    }

    fn of(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => md5::digest(bytes).to_vec(),
            Self::Ring(algorithm) => ring::digest::digest(algorithm, bytes).as_ref().to_vec(),
            Self::Old(digest, _) => digest(bytes),
        }
    }

    /// RFC 2104.
    fn hmac(&self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        let block = match self {
            Self::Md5 => 64,
            Self::Ring(algorithm) => algorithm.block_len(),
            Self::Old(_, block) => *block,
        };
        let mut padded = if key.len() > block {
            self.of(key)
        } else {
            key.to_vec()
        };
        padded.resize(block, 0);
        let with = |pad: u8, tail: &[u8]| {
            let mut text: Vec<u8> = padded.iter().map(|byte| byte ^ pad).collect();
            text.extend_from_slice(tail);
            self.of(&text)
        };
        with(0x5c, &with(0x36, bytes))
    }
}

fn digest_by<D: sha2::Digest>(bytes: &[u8]) -> Vec<u8> {
    D::digest(bytes).to_vec()
}

/// Random bytes that are given at once.
const MAX_RANDOM: u32 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        let hex = |bytes: Vec<u8>| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        // RFC 2202 §2, test case 2; RFC 1321 §A.5.
        let md5 = hex(Digest::Md5.hmac(b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(md5, "750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(
            hex(Digest::Md5.of(b"abc")),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        let sha1 = Digest::Ring(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
        // RFC 2202 §3, test case 6: a key longer than a block.
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(sha1.hmac(&[0xaa; 80], text)),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
        // RFC 1320 §A.5; RFC 2286 §2, test case 2; FIPS 180-4, the example of SHA-512/224.
        let md4 = Digest::Old(digest_by::<md4::Md4>, 64);
        assert_eq!(hex(md4.of(b"abc")), "a448017aaf21d8525fc10ae87aa6729d");
        let ripemd = Digest::Old(digest_by::<ripemd::Ripemd160>, 64);
        assert_eq!(
            hex(ripemd.hmac(b"Jefe", b"what do ya want for nothing?")),
            "dda6c0213a485a9e24f4742064a7f033b43c4069"
        );
        let sha = Digest::Old(digest_by::<sha2::Sha512_224>, 128);
        assert_eq!(
            hex(sha.of(b"abc")),
            "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa"
        );
    }
}
