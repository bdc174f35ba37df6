//! What a script asks for.

use std::time::Duration;

use rquickjs_core::{Ctx, Exception, Object, Result, Value};

use crate::script::host::{Host, millis};
use crate::script::seam;

/// A request as the script wants it.
#[derive(Clone, Debug)]
pub(in crate::script) struct Ask {
    pub(in crate::script) method: String,
    pub(in crate::script) url: String,
    pub(in crate::script) body: Option<Vec<u8>>,
    pub(in crate::script) fields: Vec<(String, String)>,
    /// Cookies of this request alone, and whether each takes the place of the jar's.
    pub(in crate::script) cookies: Vec<(String, String, bool)>,
    /// The number of the cookie jar.
    pub(in crate::script) jar: usize,
    /// Names and values by turns.
    pub(in crate::script) tags: Vec<String>,
    pub(in crate::script) timeout: Duration,
    pub(in crate::script) redirects: u32,
    pub(in crate::script) keep: Keep,
    /// Pairs of least and greatest status that are expected; empty, if nothing is judged. `None` is 200
    /// to 399.
    pub(in crate::script) expected: Option<Vec<u16>>,
    pub(in crate::script) auth: Auth,
    /// Whether HTTP/3 is spoken, if the URL is `https`.
    pub(in crate::script) http3: bool,
}

/// How a body is given to the script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::script) enum Keep {
    #[default]
    Text,
    Binary,
    Nothing,
}

/// How name and password of a URL are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::script) enum Auth {
    #[default]
    Basic,
    Digest,
}

impl Ask {
    /// Reads the arguments of a request; `more` is there if there is anything unusual.
    pub(in crate::script) fn read<'js>(
        ctx: &Ctx<'js>,
        host: &Host,
        method: String,
        url: String,
        body: Option<Value<'js>>,
        more: Option<Object<'js>>,
    ) -> Result<Self> {
        let settings = &host.settings;
        let mut ask = Self {
            method,
            url,
            body: body.and_then(|body| bytes_of(&body)),
            fields: Vec::new(),
            cookies: Vec::new(),
            jar: 0,
            tags: Vec::new(),
            timeout: TIMEOUT,
            redirects: settings.max_redirects,
            keep: if settings.discards_bodies {
                Keep::Nothing
            } else {
                Keep::Text
            },
            expected: None,
            auth: Auth::Basic,
            http3: settings.http3,
        };
        if let Some(more) = more {
            ask.read_more(ctx, &more)?;
        }
        Ok(ask)
    }

    // Not inlined: the stack of a request would be the deeper for what few have.
    #[inline(never)]
    fn read_more<'js>(&mut self, ctx: &Ctx<'js>, more: &Object<'js>) -> Result<()> {
        let fields: Option<Vec<String>> = more.get("fields")?;
        self.fields = pairs(fields.unwrap_or_default());
        for (name, _) in &mut self.fields {
            *name = canonical(name);
        }
        let cookies: Option<Vec<String>> = more.get("cookies")?;
        let cookies = cookies.unwrap_or_default();
        self.cookies = cookies
            .chunks_exact(3)
            .map(|cookie| (cookie[0].clone(), cookie[1].clone(), cookie[2] == "true"))
            .collect();
        self.jar = more.get::<_, Option<usize>>("jar")?.unwrap_or(0);
        self.tags = more
            .get::<_, Option<Vec<String>>>("tags")?
            .unwrap_or_default();
        if let Some(timeout) = more.get::<_, Option<f64>>("timeout")? {
            self.timeout = millis(timeout);
        }
        if let Some(redirects) = more.get::<_, Option<u32>>("redirects")? {
            self.redirects = redirects;
        }
        self.expected = more.get("expected")?;
        let told = |what: &str, other: &str, known: &str| {
            let text = format!("no {what} is called `{other}`; there are {known}");
            Exception::throw_message(ctx, &text)
        };
        let keep: Option<String> = more.get("responseType")?;
        match keep.as_deref() {
            None | Some("") => {}
            Some("text") => self.keep = Keep::Text,
            Some("binary") => self.keep = Keep::Binary,
            Some("none") => self.keep = Keep::Nothing,
            Some(other) => return Err(told("responseType", other, "text, binary, none")),
        }
        let protocol: Option<String> = more.get("protocol")?;
        match protocol.as_deref() {
            None | Some("") => {}
            Some("h3") if cfg!(feature = "http3") => self.http3 = true,
            Some("h3") => {
                let text = "this program was built without HTTP/3 (the feature load-http3)";
                return Err(Exception::throw_message(ctx, text));
            }
            Some("auto") => self.http3 = false,
            Some(other) => return Err(told("protocol", other, "auto and h3")),
        }
        let auth: Option<String> = more.get("auth")?;
        match auth.as_deref() {
            Some("digest") => self.auth = Auth::Digest,
            Some(other @ "ntlm") => {
                return Err(told("auth", other, "basic and digest (not yet ntlm)"));
            }
            // As in k6, what it does not know changes nothing.
            _ => {}
        }
        Ok(())
    }
}

/// The bytes of a text or of an `ArrayBuffer`.
fn bytes_of(body: &Value<'_>) -> Option<Vec<u8>> {
    match body.as_string() {
        Some(text) => Some(text.to_string().unwrap_or_default().into_bytes()),
        None => seam::bytes_of(body),
    }
}

fn pairs(flat: Vec<String>) -> Vec<(String, String)> {
    let mut flat = flat.into_iter();
    std::iter::from_fn(|| flat.next().zip(flat.next())).collect()
}

/// A field's name as Go writes it, and k6 with it: `x-own-name` becomes `X-Own-Name`.
fn canonical(name: &str) -> String {
    let mut is_first = true;
    let letter = |c: char| {
        let letter = if is_first {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        };
        is_first = c == '-';
        letter
    };
    name.chars().map(letter).collect()
}

/// How long a request may take, unless it says so itself.
const TIMEOUT: Duration = Duration::from_secs(60);
