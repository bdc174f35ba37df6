//! What every script finds without importing it, made when a script first names it.
//!
//! Most scripts name little of it, and each virtual user has its own.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use rquickjs_core::object::Property;
use rquickjs_core::{ArrayBuffer, Ctx, Function, Object, Result, Value};

use super::Host;
use crate::script::loader::Library;
use crate::script::realm::evaluate;
use crate::script::seam::{self, Find, Found, Intrinsic};

/// Where globals come from that are made together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The engine.
    Engine(Intrinsic),
    /// A module of ours, by the name that it has among the parts, with all that it gives.
    Part(&'static str, &'static [&'static str]),
    /// `__ENV`.
    Environment,
    /// `global`, as other engines call `globalThis`.
    Itself,
}

impl Source {
    /// Where the global of this name comes from, if it is one.
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "ArrayBuffer" | "SharedArrayBuffer" | "DataView" | "Atomics" | "Int8Array"
            | "Uint8Array" | "Uint8ClampedArray" | "Int16Array" | "Uint16Array" | "Int32Array"
            | "Uint32Array" | "BigInt64Array" | "BigUint64Array" | "Float16Array"
            | "Float32Array" | "Float64Array" => Self::Engine(Intrinsic::TypedArrays),
            "Map" | "Set" | "WeakMap" | "WeakSet" => Self::Engine(Intrinsic::MapSet),
            "Date" => Self::Engine(Intrinsic::Date),
            "WeakRef" | "FinalizationRegistry" => Self::Engine(Intrinsic::WeakRef),
            "atob" | "btoa" | "DOMException" => Self::Engine(Intrinsic::Base64),
            "performance" => Self::Engine(Intrinsic::Performance),
            "JSON" => Self::Engine(Intrinsic::Json),
            "Proxy" => Self::Engine(Intrinsic::Proxy),
            "__ENV" => Self::Environment,
            "global" => Self::Itself,
            _ => {
                let mut parts = PARTS.iter();
                let (part, names) = parts.find(|(_, names)| names.contains(&name))?;
                Self::Part(part, names)
            }
        })
    }

    /// Counted from 0, and below 32.
    fn number(self) -> u32 {
        match self {
            Self::Environment => 0,
            Self::Itself => 1,
            Self::Part("console", _) => 2,
            Self::Part("later", _) => 3,
            Self::Part(..) => 4,
            Self::Engine(intrinsic) => 5 + intrinsic as u32,
        }
    }
}

/// Makes the globals of one realm.
struct Maker {
    host: Rc<Host>,
    env: Arc<Vec<(String, String)>>,
    /// The sources that were needed, by bit.
    made: Cell<u32>,
}

impl Maker {
    fn has_made(&self, source: Source) -> bool {
        self.made.get() & (1 << source.number()) != 0
    }

    /// Makes what comes from a source properties of the global object.
    fn make(&self, ctx: &Ctx<'_>, source: Source) -> Result<()> {
        if self.has_made(source) {
            return Ok(());
        }
        self.made.set(self.made.get() | 1 << source.number());
        let globals = ctx.globals();
        match source {
            Source::Engine(intrinsic) => seam::add_intrinsic(ctx, intrinsic),
            Source::Part(part, names) => {
                let part = self.host.part(ctx, part)?;
                for name in names {
                    define(&globals, name, part.get(*name)?)?;
                }
                Ok(())
            }
            Source::Environment => {
                let variables = Object::new(ctx.clone())?;
                let named = self.host.library().named();
                for (name, value) in self.env.iter().filter(|(name, _)| named.has(name)) {
                    variables.set(&**name, &**value)?;
                }
                globals.set("__ENV", variables)
            }
            Source::Itself => define(&globals, "global", globals.clone().into_value()),
        }
    }
}

fn define<'js>(globals: &Object<'js>, name: &str, value: Value<'js>) -> Result<()> {
    globals.prop(name, Property::from(value).writable().configurable())
}

/// Gives a realm its globals.
pub(super) fn install(
    ctx: &Ctx<'_>,
    host: &Rc<Host>,
    env: &Arc<Vec<(String, String)>>,
) -> Result<()> {
    let maker = Rc::new(Maker {
        host: Rc::clone(host),
        env: Arc::clone(env),
        made: Cell::new(0),
    });
    let find: Find = Box::new(move |ctx, name| {
        let source = Source::of(name).filter(|source| !maker.has_made(*source));
        source
            .map(|source| accessors(ctx, &maker, source, name).map(Found::Accessors))
            .transpose()
    });
    seam::find_missing(&ctx.globals(), find)
}

/// What gives a global its value, and what a script calls that gives it another: both make it first.
fn accessors<'js>(
    ctx: &Ctx<'js>,
    maker: &Rc<Maker>,
    source: Source,
    name: &str,
) -> Result<[Function<'js>; 2]> {
    let (own, key) = (Rc::clone(maker), name.to_owned());
    let get = Function::new(ctx.clone(), move |ctx: Ctx<'js>| {
        own.make(&ctx, source)?;
        ctx.globals().get::<_, Value<'js>>(&*key)
    })?;
    let (own, key) = (Rc::clone(maker), name.to_owned());
    let set = Function::new(ctx.clone(), move |ctx: Ctx<'js>, value: Value<'js>| {
        own.make(&ctx, source)?;
        ctx.globals().set(&*key, value)
    })?;
    Ok([get, set])
}

/// Makes all that comes from modules at once, for a realm that cannot be changed afterwards.
pub(in crate::script) fn install_globals<'js>(
    ctx: &Ctx<'js>,
    library: &Library,
    parts: &Object<'js>,
) -> Result<()> {
    let globals = ctx.globals();
    for (part, names) in PARTS {
        evaluate(ctx, library, &format!("catamaran:{part}"))?;
        let part: Object<'_> = parts.get(*part)?;
        for name in *names {
            define(&globals, name, part.get(*name)?)?;
        }
    }
    define(&globals, "global", globals.clone().into_value())
}

/// The modules that globals come from.
const PARTS: &[(&str, &[&str])] = &[
    ("console", &["console"]),
    (
        "later",
        &["setTimeout", "clearTimeout", "setInterval", "clearInterval"],
    ),
    ("globals", &["open", "TextEncoder", "TextDecoder", "crypto"]),
];

/// An `ArrayBuffer` with these bytes. They are copied to where the engine's limit holds: else a script could
/// keep as many as it likes.
pub(in crate::script) fn buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<ArrayBuffer<'js>> {
    // Naming it is what makes it, where no script has.
    ctx.globals().get::<_, Value<'js>>("ArrayBuffer")?;
    ArrayBuffer::new_copy(ctx.clone(), bytes)
}
