//! Whether virtual users that run a module may share an engine.
//!
//! Each has the module to itself; the global object, what the language brings and our own modules are there
//! once for all. So a module may not change any of these, nor do what belongs to the engine as a whole, such
//! as promises. What is looked at is the text: names and kinds of expressions. In doubt the answer is no,
//! which costs memory and nothing else. What the text hides, as by an alias, fails when it runs: what is
//! shared is read-only (`modules/shared.js`).

use std::collections::HashSet;

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    Argument, ArrowFunctionExpression, AssignmentTargetPropertyIdentifier, AwaitExpression,
    BinaryExpression, BindingIdentifier, BindingPattern, BindingProperty, CallExpression,
    ClassHeritage, ComputedMemberExpression, Expression, ForOfStatement, Function,
    IdentifierReference, ImportDeclaration, ImportDeclarationSpecifier, ImportExpression,
    NewExpression, PropertyKey, SimpleAssignmentTarget, StaticMemberExpression, UnaryExpression,
    VariableDeclarator,
};
use oxc_ast_visit::{Visit, walk};
use oxc_parser::Parser;
use oxc_span::{SourceType, Span};
use oxc_syntax::operator::{BinaryOperator, UnaryOperator};
use oxc_syntax::scope::ScopeFlags;

use super::position;
use super::shared_names::{
    BASES, CLASSES, FORBIDDEN, GLOBALS, NUMBERS, PROPERTIES, SHARED_MODULES,
};

/// The first thing in a module of JavaScript that keeps virtual users from sharing an engine, and where.
pub(in crate::script) fn obstacle_in(name: &str, source: &str) -> Option<String> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::mjs()).parse();
    if parsed.diagnostics.errors().next().is_some() {
        return Some(format!("{name} is not understood"));
    }
    let mut names = Names::default();
    names.visit_program(&parsed.program);
    let mut search = Search {
        names,
        found: None,
        used: HashSet::new(),
    };
    search.visit_program(&parsed.program);
    let (offset, what) = search.found?;
    let (line, _) = position(source, offset as usize);
    Some(format!("{name}:{line}: {what}"))
}

/// The names that a module declares, wherever it does.
#[derive(Default)]
struct Names {
    declared: HashSet<String>,
    /// From modules that are there once.
    imported: HashSet<String>,
    /// Of those that are declared, lists and other objects of the language's classes.
    instances: HashSet<String>,
}

impl<'a> Visit<'a> for Names {
    fn visit_binding_identifier(&mut self, identifier: &BindingIdentifier<'a>) {
        self.declared.insert(identifier.name.to_string());
    }

    fn visit_variable_declarator(&mut self, declarator: &VariableDeclarator<'a>) {
        if let BindingPattern::BindingIdentifier(own) = &declarator.id
            && declarator.init.as_ref().is_some_and(is_instance)
        {
            self.instances.insert(own.name.to_string());
        }
        walk::walk_variable_declarator(self, declarator);
    }

    fn visit_import_declaration(&mut self, declaration: &ImportDeclaration<'a>) {
        let from = declaration.source.value.as_str();
        // Other modules are each virtual user's own, as this one is.
        let is_shared = from.starts_with("k6") || from.starts_with("https://jslib.k6.io/");
        for specifier in declaration.specifiers.iter().flatten() {
            let name = specifier.local().name.to_string();
            if is_shared {
                self.imported.insert(name);
            } else {
                self.declared.insert(name);
            }
        }
    }
}

impl Names {
    /// Whether a name may mean something that all virtual users have. One that is declared in one place and
    /// means a global in another counts as such.
    fn is_shared(&self, name: &str) -> bool {
        let is_own = self.declared.contains(name) && !GLOBALS.contains(&name);
        !is_own || self.imported.contains(name)
    }
}

/// Whether an expression makes an object whose class has methods that cannot be replaced in it.
fn is_instance(made: &Expression<'_>) -> bool {
    match made {
        Expression::ArrayExpression(_) | Expression::RegExpLiteral(_) => true,
        Expression::NewExpression(new) => matches!(&new.callee, Expression::Identifier(class)
            if CLASSES.contains(&class.name.as_str())),
        _ => false,
    }
}

/// Looks for obstacles; the first by its place is kept.
struct Search {
    names: Names,
    found: Option<(u32, String)>,
    /// Places of names that are not handed on: what is done with them is seen there.
    used: HashSet<u32>,
}

impl Search {
    fn note(&mut self, span: Span, what: impl Into<String>) {
        if self.found.as_ref().is_none_or(|(at, _)| span.start < *at) {
            self.found = Some((span.start, what.into()));
        }
    }

    /// Looks at what a property is called.
    fn property(&mut self, span: Span, name: &str) {
        if PROPERTIES.contains(&name) {
            self.note(span, format!("mentions the property `{name}`"));
        }
    }

    /// Notes that a name is used here, in a way that does not hand it on.
    fn uses(&mut self, used: &Expression<'_>) {
        if let Expression::Identifier(own) = used {
            self.used.insert(own.span.start);
        }
    }

    /// Looks at what is changed: an expression whose property gets a value.
    fn changes(&mut self, span: Span, changed: &Expression<'_>) {
        let name = root(changed).filter(|name| self.names.is_shared(name));
        // The tags of `k6/execution` are those of whoever asks.
        let is_tags = matches!(changed, Expression::StaticMemberExpression(member)
            if member.property.name == "tags");
        let name = name.filter(|name| !is_tags || !self.names.imported.contains(*name));
        // What is forbidden is told as such.
        if let Some(name) = name.filter(|name| !FORBIDDEN.contains(name)) {
            self.note(span, format!("changes `{name}`, which is not its own"));
        }
    }
}

impl Search {
    /// Looks at what an object of the language's own classes is given: its methods are read-only.
    fn replaces(&mut self, member: &StaticMemberExpression<'_>) {
        let Expression::Identifier(own) = &member.object else {
            return;
        };
        let property = member.property.name.as_str();
        if self.names.instances.contains(own.name.as_str())
            && !matches!(property, "length" | "lastIndex")
        {
            let what = format!("gives `{}` a property `{property}`", own.name);
            self.note(member.span, what);
        }
    }

    /// Looks for the environment among what a function is given: it may write there.
    fn variables(&mut self, arguments: &[Argument<'_>]) {
        for argument in arguments {
            if let Argument::Identifier(own) = argument
                && own.name == "__ENV"
            {
                self.note(own.span, "hands `__ENV` on");
            }
        }
    }
}

/// The name that a chain of members begins with.
fn root<'e>(mut expression: &'e Expression<'_>) -> Option<&'e str> {
    loop {
        expression = match expression {
            Expression::Identifier(identifier) => return Some(identifier.name.as_str()),
            Expression::StaticMemberExpression(member) => &member.object,
            Expression::ComputedMemberExpression(member) => &member.object,
            Expression::ParenthesizedExpression(inner) => &inner.expression,
            _ => return None,
        };
    }
}

impl<'a> Visit<'a> for Search {
    fn visit_identifier_reference(&mut self, identifier: &IdentifierReference<'a>) {
        let name = identifier.name.as_str();
        if FORBIDDEN.contains(&name) {
            self.note(identifier.span, format!("mentions `{name}`"));
        }
        // Whoever is given a class can change what all its objects have.
        let is_class = CLASSES.contains(&name) || BASES.contains(&name);
        if is_class && !self.used.contains(&identifier.span.start) {
            self.note(identifier.span, format!("hands `{name}` on"));
        }
    }

    fn visit_import_declaration(&mut self, declaration: &ImportDeclaration<'a>) {
        let from = declaration.source.value.as_str();
        if from.starts_with("k6") && !SHARED_MODULES.contains(&from) {
            self.note(declaration.span, format!("imports `{from}`"));
        }
        for specifier in declaration.specifiers.iter().flatten() {
            if let ImportDeclarationSpecifier::ImportSpecifier(own) = specifier {
                self.property(own.span, own.imported.name().as_str());
            }
        }
    }

    fn visit_simple_assignment_target(&mut self, target: &SimpleAssignmentTarget<'a>) {
        match target {
            SimpleAssignmentTarget::AssignmentTargetIdentifier(own)
                if self.names.is_shared(&own.name) =>
            {
                let what = format!("assigns to `{}`, which it does not declare", own.name);
                self.note(own.span, what);
            }
            SimpleAssignmentTarget::StaticMemberExpression(member) => {
                if member.property.name != "tags" {
                    self.changes(member.span, &member.object);
                }
                self.replaces(member);
                self.uses(&member.object);
                // A class of the old kind gives its own prototype.
                if member.property.name != "prototype" {
                    self.property(member.span, &member.property.name);
                }
                self.visit_expression(&member.object);
                return;
            }
            SimpleAssignmentTarget::ComputedMemberExpression(member) => {
                self.changes(member.span, &member.object);
            }
            _ => {}
        }
        walk::walk_simple_assignment_target(self, target);
    }

    fn visit_assignment_target_property_identifier(
        &mut self,
        property: &AssignmentTargetPropertyIdentifier<'a>,
    ) {
        let own = &property.binding;
        if self.names.is_shared(&own.name) {
            let what = format!("assigns to `{}`, which it does not declare", own.name);
            self.note(own.span, what);
        }
        walk::walk_assignment_target_property_identifier(self, property);
    }

    fn visit_unary_expression(&mut self, unary: &UnaryExpression<'a>) {
        if unary.operator == UnaryOperator::Typeof {
            self.uses(&unary.argument);
        }
        if unary.operator == UnaryOperator::Delete {
            match &unary.argument {
                Expression::StaticMemberExpression(own) => self.changes(own.span, &own.object),
                Expression::ComputedMemberExpression(own) => self.changes(own.span, &own.object),
                _ => {}
            }
        }
        walk::walk_unary_expression(self, unary);
    }

    fn visit_static_member_expression(&mut self, member: &StaticMemberExpression<'a>) {
        let name = member.property.name.as_str();
        self.property(member.span, name);
        self.uses(&member.object);
        if name == "prototype" && root(&member.object).is_none_or(|own| self.names.is_shared(own)) {
            self.note(member.span, "mentions a `prototype` that is not its own");
        }
        // What is read from one is read only: `Object.prototype.hasOwnProperty.call(…)`.
        if let Expression::StaticMemberExpression(inner) = &member.object
            && inner.property.name == "prototype"
        {
            self.uses(&inner.object);
            self.visit_expression(&inner.object);
            return;
        }
        walk::walk_static_member_expression(self, member);
    }

    fn visit_computed_member_expression(&mut self, member: &ComputedMemberExpression<'a>) {
        if let Expression::StringLiteral(text) = &member.expression {
            self.property(member.span, &text.value);
            if text.value == "prototype" {
                self.note(member.span, "mentions a `prototype`");
            }
            self.uses(&member.object);
        }
        walk::walk_computed_member_expression(self, member);
    }

    fn visit_binding_property(&mut self, property: &BindingProperty<'a>) {
        if let PropertyKey::StaticIdentifier(key) = &property.key {
            self.property(key.span, &key.name);
            if key.name == "prototype" {
                self.note(key.span, "mentions a `prototype`");
            }
        }
        walk::walk_binding_property(self, property);
    }

    fn visit_variable_declarator(&mut self, declarator: &VariableDeclarator<'a>) {
        if let Some(Expression::Identifier(from)) = &declarator.init
            && GLOBALS.contains(&from.name.as_str())
            && !NUMBERS.contains(&from.name.as_str())
        {
            let what = format!("gives `{}` another name", from.name);
            self.note(from.span, what);
        }
        walk::walk_variable_declarator(self, declarator);
    }

    fn visit_call_expression(&mut self, call: &CallExpression<'a>) {
        if let Expression::StaticMemberExpression(callee) = &call.callee
            && let Some(Argument::Identifier(first)) = call.arguments.first()
            && self.names.is_shared(&first.name)
        {
            let name = &first.name;
            match callee.property.name.as_str() {
                "assign" => {
                    self.note(
                        first.span,
                        format!("changes `{name}`, which is not its own"),
                    );
                }
                "create" if root(&call.callee) == Some("Object") => {
                    self.note(first.span, format!("makes an object like `{name}`"));
                }
                _ => {}
            }
        }
        // What the language brings reads it only: `Object.keys(__ENV)`.
        if root(&call.callee).is_none_or(|callee| !GLOBALS.contains(&callee)) {
            self.variables(&call.arguments);
        }
        self.uses(&call.callee);
        walk::walk_call_expression(self, call);
    }

    fn visit_new_expression(&mut self, new: &NewExpression<'a>) {
        self.variables(&new.arguments);
        self.uses(&new.callee);
        walk::walk_new_expression(self, new);
    }

    fn visit_binary_expression(&mut self, binary: &BinaryExpression<'a>) {
        if binary.operator == BinaryOperator::Instanceof {
            self.uses(&binary.right);
        }
        walk::walk_binary_expression(self, binary);
    }

    fn visit_class_heritage(&mut self, heritage: &ClassHeritage<'a>) {
        // Of a list or a map the methods are read-only, also in an object of a class of one's own.
        match &heritage.expression {
            Expression::Identifier(base) if CLASSES.contains(&base.name.as_str()) => {
                self.note(base.span, format!("extends `{}`", base.name));
            }
            base => self.uses(base),
        }
        walk::walk_class_heritage(self, heritage);
    }

    fn visit_function(&mut self, function: &Function<'a>, flags: ScopeFlags) {
        if function.r#async {
            self.note(function.span, "has an `async` function");
        }
        walk::walk_function(self, function, flags);
    }

    fn visit_arrow_function_expression(&mut self, function: &ArrowFunctionExpression<'a>) {
        if function.r#async {
            self.note(function.span, "has an `async` function");
        }
        walk::walk_arrow_function_expression(self, function);
    }

    fn visit_await_expression(&mut self, awaits: &AwaitExpression<'a>) {
        self.note(awaits.span, "has an `await`");
        walk::walk_await_expression(self, awaits);
    }

    fn visit_for_of_statement(&mut self, each: &ForOfStatement<'a>) {
        if each.r#await {
            self.note(each.span, "has a `for await`");
        }
        walk::walk_for_of_statement(self, each);
    }

    fn visit_import_expression(&mut self, import: &ImportExpression<'a>) {
        self.note(import.span, "imports while it runs");
        walk::walk_import_expression(self, import);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_that_is_shared_may_share() {
        for source in [
            "import http from 'k6/http'; let n = 0; export default () => { n += 1; http.get(`${__ENV.URL}`); }",
            "const own = {}; own.a = 1; own.b.c = 2; delete own.a; [own.x] = [1];",
            "class Own extends Error { constructor(text) { super(text); this.name = 'Own'; } }",
            "function Own() {} Own.prototype.say = function () {}; Own.prototype = { a: 1 };",
            "if (Object.prototype.hasOwnProperty.call({}, 'a')) { [1, 2].map(String); Math.max(1, 2); }",
            "const all = Object.assign({}, JSON.parse('{}')); for (const key in all) { all[key]++; }",
            "import exec from 'k6/execution'; exec.vu.tags.a = 1; exec.vu.metrics.tags['b'] = 2; delete exec.vu.tags.a;",
            "import { kept } from './kept.js'; kept.a = 1;",
            "if ({} instanceof Error || typeof Map === 'undefined') { throw new TypeError(`${new Error('a')}`); }",
            "[1].map(Number).filter(Boolean); Array.from([]); Array(3).fill(0); Object['keys']({}); new Date(1);",
            "const list = [1]; list.length = 0; list[0] = 1; const e = new Error('a'); e.code = 1; e.toString = () => '';",
            "console.log(Object.entries(__ENV), JSON.stringify(__ENV), Object.assign({}, __ENV), { ...__ENV });",
            "class Own { constructor() { this.get = () => 1; } } class More extends Own {} const o = new More(); o.get = 1;",
            "export function* numbers() { try { yield 1; } finally { console.log('over'); } }",
        ] {
            assert_eq!(obstacle_in("a.js", source), None, "{source}");
        }
    }

    #[test]
    fn what_another_could_see_keeps_engines_apart() {
        for (source, why) in [
            ("\nglobalThis.a = 1;", "a.js:2: mentions `globalThis`"),
            ("a = 1;", "a.js:1: assigns to `a`"),
            ("({ a } = { a: 1 });", "assigns to `a`"),
            ("[Math] = [1];", "assigns to `Math`"),
            ("console.log = () => {};", "changes `console`"),
            ("Math.random++;", "changes `Math`"),
            ("for (Math.a of [1]) {}", "changes `Math`"),
            ("({ x: JSON.a } = { x: 1 });", "changes `JSON`"),
            ("delete Array.of;", "changes `Array`"),
            ("__ENV.A = 'b';", "changes `__ENV`"),
            (
                "import http from 'k6/http'; http.get = null;",
                "changes `http`",
            ),
            (
                "import http from 'k6/http'; Object.assign(http, {});",
                "changes `http`",
            ),
            ("Object.assign(Math, {});", "changes `Math`"),
            ("const M = Math;", "another name"),
            ("Array.prototype.last = () => 1;", "changes `Array`"),
            ("const p = Object.prototype;", "prototype"),
            ("[].constructor.a = 1;", "constructor"),
            ("({}).__proto__.a = 1;", "__proto__"),
            ("({})['__proto__'].a = 1;", "__proto__"),
            ("const { getPrototypeOf } = Object;", "getPrototypeOf"),
            (
                "function f(Math) { return Math; } Math.a = 1;",
                "changes `Math`",
            ),
            ("(0, eval)('1');", "eval"),
            ("new Function('a');", "Function"),
            ("const f = async () => 1;", "async"),
            ("await 1;", "await"),
            ("Promise.resolve();", "Promise"),
            ("setTimeout(() => {}, 1);", "setTimeout"),
            ("import('k6');", "while it runs"),
            ("import ws from 'k6/ws';", "imports `k6/ws`"),
            ("import { asyncRequest } from 'k6/http';", "asyncRequest"),
            (
                "import http from 'k6/http'; http.setResponseCallback(null);",
                "setResponseCallback",
            ),
            ("Error.prepareStackTrace = () => {};", "Error"),
        ] {
            assert_obstacle(source, why);
        }
    }

    #[test]
    fn whoever_could_change_what_is_shared_unseen_is_kept_apart() {
        for (source, why) in [
            ("const p = Object['prototype'];", "`prototype`"),
            ("const p = Object[name];", "hands `Object` on"),
            (
                "function f(C) { C.prototype.toString = 1; } f(Error);",
                "hands `Error` on",
            ),
            ("export const kinds = { Array };", "hands `Array` on"),
            (
                "const m = new Map(); m.get = () => 1;",
                "gives `m` a property `get`",
            ),
            ("const a = []; a.map = 1;", "gives `a` a property `map`"),
            ("class Own extends Array {}", "extends `Array`"),
            (
                "import http from 'k6/http'; const c = Object.create(http);",
                "like `http`",
            ),
            (
                "function f(env) { env.A = 1; } f(__ENV);",
                "hands `__ENV` on",
            ),
        ] {
            assert_obstacle(source, why);
        }
    }

    #[track_caller]
    fn assert_obstacle(source: &str, why: &str) {
        let told = obstacle_in("a.js", source);
        assert!(
            told.as_ref().is_some_and(|told| told.contains(why)),
            "{source}: {told:?}"
        );
    }
}
