//! Properties of our own objects, for which the engine calls us with nothing in between.
//!
//! A closure behind a property costs an object, a box and several calls; a script asks for the status and the
//! body of each answer, and each virtual user has its own prototypes. These are plain C functions with a number.
//! The same one is called with a value when a script writes to the property, and makes it one of the object's own.
//!
//! # Safety argument
//! The engine calls [`call`] with a context, an object and values that are alive, and with the number that the
//! function was made with. What it returns is owned by the engine from then on. A panic ends the program, as it
//! may not cross C frames.

use std::ffi::c_int;
use std::ptr::NonNull;

use rquickjs_core::object::Property;
use rquickjs_core::{Ctx, Error, Exception, Object, Result, Value, qjs};

/// Reads a property of an object.
pub(in crate::script) type Get = for<'js> fn(&Ctx<'js>, &Value<'js>) -> Result<Value<'js>>;

/// The getters of one kind of object.
pub(in crate::script) trait Getters: 'static {
    /// Names, and what reads them.
    const ALL: &'static [(&'static str, Get)];
}

/// Gives them all to an object, as a rule a prototype.
pub(in crate::script) fn define_getters<G: Getters>(object: &Object<'_>) -> Result<()> {
    let context = object.ctx().as_raw().as_ptr();
    // SAFETY: the engine calls it as what it is, since that is said below: a function with a number.
    let call =
        unsafe { std::mem::transmute::<qjs::JSCFunctionMagic, qjs::JSCFunction>(Some(call::<G>)) };
    let kind = qjs::JSCFunctionEnum_JS_CFUNC_generic_magic;
    for ((name, _), number) in G::ALL.iter().zip(0..) {
        let len = name.len() as qjs::size_t;
        // SAFETY: the context is alive, and the text has so many bytes.
        let atom = unsafe { qjs::JS_NewAtomLen(context, name.as_ptr().cast(), len) };
        // SAFETY: the context is alive, and the name ends with a zero.
        let get = unsafe { qjs::JS_NewCFunction2(context, call, c"get".as_ptr(), 0, kind, number) };
        // SAFETY: the function is alive, or no object, which has no owners.
        let set = unsafe { qjs::JS_DupValue(context, get) };
        let place = object.as_raw();
        // What is for our own modules is not listed.
        let flags = if name.starts_with("__") {
            HIDDEN
        } else {
            SHOWN
        };
        // SAFETY: all are alive; the engine takes the function twice, even if it could not be made.
        let done = unsafe { qjs::JS_DefinePropertyGetSet(context, place, atom, get, set, flags) };
        // SAFETY: the name is ours, and not used any more.
        unsafe { qjs::JS_FreeAtom(context, atom) };
        if done < 0 {
            return Err(Error::Exception);
        }
    }
    Ok(())
}

unsafe extern "C" fn call<G: Getters>(
    context: *mut qjs::JSContext,
    this: qjs::JSValue,
    count: c_int,
    values: *mut qjs::JSValue,
    number: c_int,
) -> qjs::JSValue {
    let (Some(raw), Ok(number)) = (NonNull::new(context), usize::try_from(number)) else {
        return qjs::JS_UNDEFINED;
    };
    // SAFETY: the engine passes the context that runs.
    let ctx = unsafe { Ctx::from_raw(raw) };
    // SAFETY: it is alive, and has one owner more from now on, which is the next line's.
    let this = unsafe { qjs::JS_DupValue(context, this) };
    // SAFETY: see the line before.
    let this = unsafe { Value::from_raw(ctx.clone(), this) };
    let Some((name, get)) = G::ALL.get(number) else {
        return qjs::JS_UNDEFINED;
    };
    let done = if count > 0 {
        // SAFETY: there are so many values.
        let value = unsafe { values.read() };
        // SAFETY: it is alive, and has one owner more from now on, which is the next line's.
        let value = unsafe { qjs::JS_DupValue(context, value) };
        // SAFETY: see the line before.
        keep(&this, name, unsafe { Value::from_raw(ctx.clone(), value) })
    } else {
        get(&ctx, &this)
    };
    match done {
        // SAFETY: it is alive, and has one owner more from now on, which is the engine.
        Ok(value) => unsafe { qjs::JS_DupValue(context, value.as_raw()) },
        Err(Error::Exception) => qjs::JS_EXCEPTION,
        Err(error) => {
            Exception::throw_type(&ctx, &error.to_string());
            qjs::JS_EXCEPTION
        }
    }
}

/// Makes a value a property of an object's own.
pub(in crate::script) fn keep<'js>(
    object: &Value<'js>,
    name: &str,
    value: Value<'js>,
) -> Result<Value<'js>> {
    let object = Object::from_value(object.clone())?;
    let kept = Property::from(value.clone()).writable().enumerable();
    object.prop(name, kept.configurable())?;
    Ok(value)
}

#[expect(clippy::cast_possible_wrap, reason = "it is small")]
const HIDDEN: c_int = qjs::JS_PROP_CONFIGURABLE as c_int;
/// As scripts see them: they are listed and may be replaced.
#[expect(clippy::cast_possible_wrap, reason = "both are small")]
const SHOWN: c_int = (qjs::JS_PROP_ENUMERABLE | qjs::JS_PROP_CONFIGURABLE) as c_int;
