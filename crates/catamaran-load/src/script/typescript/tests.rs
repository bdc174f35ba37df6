//! Tests of what becomes of TypeScript. That it runs is shown by the integration tests.

use super::to_javascript;

/// What is left, without spaces that make no difference.
fn left(source: &str) -> String {
    let text = to_javascript("a.ts", source).unwrap_or_else(|why| panic!("{why}: {source}"));
    assert_eq!(
        text.matches('\n').count(),
        source.matches('\n').count(),
        "{text}"
    );
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn types_are_taken_out() {
    for (source, javascript) in [
        ("let a: number = 1;", "let a = 1;"),
        ("let a!: number; a", "let a ; a"),
        (
            "const f = (a?: string, b: number = 2): void => {};",
            "const f = (a , b = 2) => {};",
        ),
        (
            "function f<T extends object>(this: Window, a: T): a is T { return a!; }",
            "function f ( a ) { return a ; }",
        ),
        (
            "f<string>(a as any, <B>b, c satisfies C);",
            "f (a , b, c );",
        ),
        ("type A = { a: string };\nconst b = 1;", "; const b = 1;"),
        ("interface A { a: string }\n(b)", "; (b)"),
        ("declare const a: string; b", "; b"),
        (
            "export type A = string; export const a: A = 'x';",
            "; export const a = 'x';",
        ),
        (
            "function f(a: string): void;\nfunction f(a: any) { }",
            "; function f(a ) { }",
        ),
        (
            "const m = new Map<string, number[]>();",
            "const m = new Map ();",
        ),
        (
            "for (const [k, v] of x as [string, number][]) {}",
            "for (const [k, v] of x ) {}",
        ),
        ("try {} catch (e: unknown) {}", "try {} catch (e ) {}"),
        ("const a = b!.c![0];", "const a = b .c [0];"),
        ("let x = a ? (b as c) : d;", "let x = a ? (b ) : d;"),
        ("declare global { interface Window {} }\na", "; a"),
        (
            "function assert(v: any): asserts v is string {}",
            "function assert(v ) {}",
        ),
    ] {
        assert_eq!(left(source), javascript, "{source}");
    }
}

#[test]
fn classes_lose_their_modifiers_and_keep_their_members() {
    let source = "abstract class A<T> extends B<T> implements C, D {\n  private readonly a: number = 1;\n  b?: string;\n  \
        c!: number;\n  declare d: string;\n  [key: string]: any;\n  abstract e(): void;\n  public async f?(): Promise<void> {}\n  \
        constructor(private g: string, h?: number) { super(); this.i(); }\n  protected get i(): any { return this.g; }\n}";
    assert_eq!(
        left(source),
        "class A extends B { a = 1; b ; c ; ; ; ; async f () {} constructor( g , h ) \
        { super(); this.g = g; this.i(); } get i() { return this.g; } }"
    );
}

#[test]
fn imports_of_types_fall_away() {
    for (source, javascript) in [
        ("import type { A } from 'a'; b", "; b"),
        (
            "import { Options } from 'k6/options';\nexport const options: Options = {};",
            "; export const options = {};",
        ),
        (
            "import http, { type Response, get, post } from 'k6/http'; http(get)",
            "import http, { get } from 'k6/http'; http(get)",
        ),
        (
            "import * as a from 'a';\na.b()",
            "import * as a from 'a'; a.b()",
        ),
        ("import 'a';", "import 'a';"),
        (
            "import { a } from 'a'; export { a };",
            "import { a } from 'a'; export { a };",
        ),
        ("export { a, type B, } from 'a';", "export { a, } from 'a';"),
        (
            "type B = 1; const a = 1; export { B, a };",
            "; const a = 1; export { a };",
        ),
        (
            "export type { A } from 'a'; export * from 'b';",
            "; export * from 'b';",
        ),
    ] {
        assert_eq!(left(source), javascript, "{source}");
    }
}

#[test]
fn enums_become_objects() {
    let text = left(
        "export enum A { X, Y = 5, Z, S = 'it''s'.length }\n"
            .replace("''", "\\'")
            .as_str(),
    );
    assert!(text.starts_with("export var A = ((__e) =>"), "{text}");
    assert!(
        text.contains("__m(\"X\", 0); __m(\"Y\", 5); __m(\"Z\", __e[\"Y\"] + 1);"),
        "{text}"
    );
    let text = left("const enum B { One = 1 << 0, Two = 1 << 1, Both = One | B.Two }");
    assert!(text.contains("__m(\"Both\", __e.One | __e.Two)"), "{text}");
}

#[test]
fn lines_and_columns_stay() {
    let source =
        "const a: string = 'x';\nfunction f(b: number,\n  c: {\n    d: string\n  }) { throw 1; }\n";
    let text = to_javascript("a.ts", source).unwrap();
    assert_eq!(text.find("throw"), source.find("throw"));
    let arrow = "const f = (a: number): {\n  b: string\n} => ({ b: '' });\nconst z = 1;";
    let text = to_javascript("a.ts", arrow).unwrap();
    assert!(text.starts_with("const f = (a        )"), "{text}");
    assert_eq!(text.lines().nth(3), Some("const z = 1;"), "{text}");
    assert!(text.lines().next().unwrap().contains("=>"), "{text}");
}

#[test]
fn errors_say_where() {
    let told = |source: &str| to_javascript("dir/a.ts", source).unwrap_err();
    assert!(
        told("const a = 1;\nconst é = ;").starts_with("dir/a.ts:2:11: "),
        "{}",
        told("const a = 1;\nconst é = ;")
    );
    assert!(
        told("\n  namespace A { export const b = 1; }").starts_with("dir/a.ts:2:3: write a module")
    );
    assert!(told("@a class B {}").contains("decorators"));
    assert!(told("import a = require('a');").contains("import … from"));
    for source in [
        "", "(", "{", "`${", "class {", "enum A {", "let a: ;", "\u{0}", "<", "/*",
    ] {
        let _ = to_javascript("a.ts", source);
    }
}
