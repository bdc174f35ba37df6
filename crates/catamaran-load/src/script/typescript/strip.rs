//! Finds what is TypeScript in a module and takes it out.

use oxc_ast::ast::{
    AccessorProperty, ArrowFunctionExpression, Class, Declaration, Decorator, ExportAllDeclaration,
    ExportDeclaration, ExportDefaultDeclaration, ExportDefaultDeclarationKind,
    ExportFromDeclaration, ExportNamedDeclaration, FormalParameter, Function, FunctionBody,
    IdentifierReference, ImportDeclaration, ImportOrExportKind, MethodDefinition,
    MethodDefinitionKind, MethodDefinitionType, Program, PropertyDefinition,
    PropertyDefinitionType, Statement, TSAsExpression, TSClassImplements, TSEnumDeclaration,
    TSExportAssignment, TSExternalModuleDeclaration, TSGlobalDeclaration,
    TSImportEqualsDeclaration, TSIndexSignature, TSInterfaceDeclaration, TSNamespaceDeclaration,
    TSNonNullExpression, TSSatisfiesExpression, TSThisParameter, TSTypeAliasDeclaration,
    TSTypeAnnotation, TSTypeAssertion, TSTypeParameterDeclaration, TSTypeParameterInstantiation,
    VariableDeclaration, VariableDeclarator,
};
use oxc_ast_visit::{Visit, walk};
use oxc_span::{GetSpan as _, Span};
use oxc_syntax::scope::ScopeFlags;

use super::edits::Edits;
use super::enums;
use super::imports::{self, Names};

/// What cannot be made into JavaScript.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) offset: u32,
    pub(super) why: &'static str,
}

impl Problem {
    pub(super) const fn at(offset: u32, why: &'static str) -> Self {
        Self { offset, why }
    }
}

/// The JavaScript of a module.
pub(super) fn strip(source: &str, program: &Program<'_>) -> Result<String, Problem> {
    let mut stripper = Stripper {
        source,
        edits: Edits::default(),
        names: Names::default(),
        problem: None,
    };
    stripper.visit_program(program);
    if let Some(problem) = stripper.problem {
        return Err(problem);
    }
    // Which imports are values is known only now.
    for statement in &program.body {
        match statement {
            Statement::ImportDeclaration(declaration) => {
                imports::import(&mut stripper.edits, source, declaration, &stripper.names);
            }
            Statement::ExportNamedDeclaration(declaration) => {
                let types = &stripper.names.types;
                let is_type = |name: &str| types.contains(name);
                imports::export(
                    &mut stripper.edits,
                    &declaration.specifiers,
                    source,
                    &is_type,
                );
            }
            Statement::ExportFromDeclaration(declaration) => {
                let never = |_: &str| false;
                imports::export(&mut stripper.edits, &declaration.specifiers, source, &never);
            }
            _ => {}
        }
    }
    let whole = Span::new(0, u32::try_from(source.len()).unwrap_or(u32::MAX));
    Ok(stripper.edits.apply(source, whole))
}

struct Stripper<'s> {
    source: &'s str,
    edits: Edits,
    names: Names,
    problem: Option<Problem>,
}

impl Stripper<'_> {
    fn refuse(&mut self, offset: u32, why: &'static str) {
        if self.problem.is_none() {
            self.problem = Some(Problem::at(offset, why));
        }
    }

    /// The offset of `sign`, from `from` on.
    fn find(&self, from: u32, sign: char) -> Option<u32> {
        let rest = self.source.get(from as usize..)?;
        let at = rest.find(sign)?;
        u32::try_from(at).ok().map(|at| from + at)
    }

    /// Takes `?` or `!` and the type behind a name out.
    fn blank_behind(&mut self, name: Span, annotation: Option<Span>, sign: Option<char>) {
        match (annotation, sign) {
            (Some(annotation), _) => self.edits.blank(name.end, annotation.end),
            (None, Some(sign)) => {
                if let Some(at) = self.find(name.end, sign) {
                    self.edits.blank(at, at + 1);
                }
            }
            (None, None) => {}
        }
    }

    /// Takes words such as `private` out between two places.
    fn blank_words(&mut self, from: u32, to: u32) {
        let Some(text) = self.source.get(from as usize..to as usize) else {
            return;
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let mut at = from;
        for piece in text.split_inclusive(|c| !is_word(c)) {
            let word = piece.trim_end_matches(|c| !is_word(c));
            let len = |text: &str| u32::try_from(text.len()).unwrap_or(0);
            if MODIFIERS.contains(&word) {
                self.edits.blank(at, at + len(word));
            }
            at += len(piece);
        }
    }

    /// Where the name of a member ends, its bracket included.
    fn end_of_key(&self, key: Span, is_computed: bool) -> Span {
        let bracket = is_computed.then(|| self.find(key.end, ']')).flatten();
        Span::new(key.start, bracket.map_or(key.end, |at| at + 1))
    }

    /// Assigns the parameters of a constructor that are properties, too.
    fn assign_parameters(&mut self, method: &MethodDefinition<'_>, has_super: bool) {
        let parameters = method.value.params.items.iter();
        let properties = parameters.filter(|parameter| {
            parameter.accessibility.is_some() || parameter.readonly || parameter.r#override
        });
        let mut text = String::new();
        for parameter in properties {
            let name = parameter.pattern.span().source_text(self.source);
            text.push_str(&format!(" this.{name} = {name};"));
        }
        let Some(body) = method.value.body.as_ref().filter(|_| !text.is_empty()) else {
            return;
        };
        match place_of_assignments(body, self.source, has_super) {
            Some(at) => self.edits.insert(at, text),
            None => self.refuse(
                body.span.start,
                "with parameter properties, `super(…)` must be a statement of its own",
            ),
        }
    }
}

/// Where properties may be assigned: first, or once `super` was called.
fn place_of_assignments(body: &FunctionBody<'_>, source: &str, has_super: bool) -> Option<u32> {
    if !has_super {
        return Some(body.span.start + 1);
    }
    let calls_super = |statement: &&Statement<'_>| {
        let text = statement.span().source_text(source);
        text.starts_with("super") && text[5..].trim_start().starts_with('(')
    };
    let statement = body.statements.iter().find(calls_super)?;
    Some(statement.span().end)
}

impl<'a> Visit<'a> for Stripper<'_> {
    fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
        self.names.values.insert(it.name.to_string());
    }

    fn visit_export_named_declaration(&mut self, it: &ExportNamedDeclaration<'a>) {
        if it.export_kind == ImportOrExportKind::Type {
            self.edits.blank_statement(it.span);
            return;
        }
        walk::walk_export_named_declaration(self, it);
        for specifier in &it.specifiers {
            self.names.values.insert(specifier.local.name().to_string());
        }
    }

    fn visit_export_from_declaration(&mut self, it: &ExportFromDeclaration<'a>) {
        if it.export_kind == ImportOrExportKind::Type {
            self.edits.blank_statement(it.span);
        }
    }

    fn visit_export_all_declaration(&mut self, it: &ExportAllDeclaration<'a>) {
        if it.export_kind == ImportOrExportKind::Type {
            self.edits.blank_statement(it.span);
        }
    }

    fn visit_export_declaration(&mut self, it: &ExportDeclaration<'a>) {
        walk::walk_export_declaration(self, it);
        if is_only_type(&it.declaration) {
            self.edits.blank_statement(it.span);
        }
    }

    fn visit_export_default_declaration(&mut self, it: &ExportDefaultDeclaration<'a>) {
        let is_type = match &it.declaration {
            ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => true,
            ExportDefaultDeclarationKind::FunctionDeclaration(own) => own.body.is_none(),
            _ => false,
        };
        if is_type {
            self.edits.blank_statement(it.span);
        } else {
            walk::walk_export_default_declaration(self, it);
        }
    }

    fn visit_import_declaration(&mut self, _it: &ImportDeclaration<'a>) {}

    fn visit_variable_declaration(&mut self, it: &VariableDeclaration<'a>) {
        if it.declare {
            self.edits.blank_statement(it.span);
        } else {
            walk::walk_variable_declaration(self, it);
        }
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        let annotation = it.type_annotation.as_ref().map(|own| own.span);
        self.blank_behind(it.id.span(), annotation, None);
        walk::walk_variable_declarator(self, it);
    }

    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        if it.declare || it.body.is_none() {
            self.edits.blank_statement(it.span);
        } else {
            walk::walk_function(self, it, flags);
        }
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        walk::walk_arrow_function_expression(self, it);
        let Some(returned) = &it.return_type else {
            return;
        };
        let span = returned.span;
        let lines = span.source_text(self.source).matches('\n').count();
        // No line break may stand before `=>`; those that go come again behind it.
        if lines > 0
            && let Some(arrow) = self.find(span.end, '=')
        {
            let start = it.params.span.end;
            self.edits.blank_lines(start, arrow);
            self.edits.insert(arrow + 2, "\n".repeat(lines));
        }
    }

    fn visit_ts_this_parameter(&mut self, it: &TSThisParameter<'a>) {
        let rest = &self.source[it.span.end as usize..];
        let is_followed = rest.trim_start().starts_with(',');
        let comma = self.find(it.span.end, ',').filter(|_| is_followed);
        self.edits
            .blank(it.span.start, comma.map_or(it.span.end, |at| at + 1));
    }

    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        if it.accessibility.is_some() || it.readonly || it.r#override {
            self.blank_words(it.span.start, it.pattern.span().start);
        }
        let annotation = it.type_annotation.as_ref().map(|own| own.span);
        let sign = it.optional.then_some('?');
        self.blank_behind(it.pattern.span(), annotation, sign);
        walk::walk_formal_parameter(self, it);
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        if it.declare {
            self.edits.blank_statement(it.span);
            return;
        }
        if let Some(id) = &it.id {
            self.names.values.insert(id.name.to_string());
        }
        if it.r#abstract {
            self.blank_words(it.span.start, it.span.start + ABSTRACT_LEN);
        }
        if let Some(last) = it.implements.last() {
            let heritage = it.heritage.as_ref().map(|own| {
                let arguments = own.type_arguments.as_ref().map(|own| own.span.end);
                arguments.unwrap_or_else(|| own.expression.span().end)
            });
            let parameters = it.type_parameters.as_ref().map(|own| own.span.end);
            let id = it.id.as_ref().map(|own| own.span.end);
            let class = it.span.start + CLASS_LEN;
            let from = heritage.or(parameters).or(id).unwrap_or(class);
            self.edits.blank(from, last.span.end);
        }
        walk::walk_class(self, it);
        let methods = it.body.body.iter();
        for element in methods {
            if let oxc_ast::ast::ClassElement::MethodDefinition(method) = element
                && method.kind == MethodDefinitionKind::Constructor
            {
                self.assign_parameters(method, it.heritage.is_some());
            }
        }
    }

    fn visit_ts_class_implements(&mut self, _it: &TSClassImplements<'a>) {}

    fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
        let is_abstract = it.r#type == MethodDefinitionType::TSAbstractMethodDefinition;
        if is_abstract || it.value.body.is_none() {
            self.edits.blank_statement(it.span);
            return;
        }
        self.blank_words(it.span.start, it.key.span().start);
        let key = self.end_of_key(it.key.span(), it.computed);
        self.blank_behind(key, None, it.optional.then_some('?'));
        walk::walk_method_definition(self, it);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        let is_abstract = it.r#type == PropertyDefinitionType::TSAbstractPropertyDefinition;
        if it.declare || is_abstract {
            self.edits.blank_statement(it.span);
            return;
        }
        self.blank_words(it.span.start, it.key.span().start);
        let key = self.end_of_key(it.key.span(), it.computed);
        let annotation = it.type_annotation.as_ref().map(|own| own.span);
        let sign = match (it.optional, it.definite) {
            (true, _) => Some('?'),
            (_, true) => Some('!'),
            _ => None,
        };
        self.blank_behind(key, annotation, sign);
        walk::walk_property_definition(self, it);
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        self.refuse(
            it.span.start,
            "`accessor` is not known to the engine; write get and set",
        );
    }

    fn visit_decorator(&mut self, it: &Decorator<'a>) {
        self.refuse(
            it.span.start,
            "decorators are not known to the engine; call the function",
        );
    }

    fn visit_ts_index_signature(&mut self, it: &TSIndexSignature<'a>) {
        self.edits.blank_statement(it.span);
    }

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.edits.blank(it.span.start, it.span.end);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.edits.blank(it.span.start, it.span.end);
    }

    fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
        self.edits.blank(it.span.start, it.span.end);
    }

    fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
        self.edits.blank(it.expression.span().end, it.span.end);
        self.visit_expression(&it.expression);
    }

    fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
        self.edits.blank(it.expression.span().end, it.span.end);
        self.visit_expression(&it.expression);
    }

    fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
        self.edits.blank(it.expression.span().end, it.span.end);
        self.visit_expression(&it.expression);
    }

    fn visit_ts_type_assertion(&mut self, it: &TSTypeAssertion<'a>) {
        self.edits.blank(it.span.start, it.expression.span().start);
        self.visit_expression(&it.expression);
    }

    fn visit_ts_type_alias_declaration(&mut self, it: &TSTypeAliasDeclaration<'a>) {
        self.names.types.insert(it.id.name.to_string());
        self.edits.blank_statement(it.span);
    }

    fn visit_ts_interface_declaration(&mut self, it: &TSInterfaceDeclaration<'a>) {
        self.names.types.insert(it.id.name.to_string());
        self.edits.blank_statement(it.span);
    }

    fn visit_ts_enum_declaration(&mut self, it: &TSEnumDeclaration<'a>) {
        if it.declare {
            self.edits.blank_statement(it.span);
            return;
        }
        walk::walk_ts_enum_declaration(self, it);
        match enums::javascript(self.source, it, &self.edits) {
            Ok(text) => self.edits.replace(it.span.start, it.span.end, text),
            Err(problem) => {
                self.problem.get_or_insert(problem);
            }
        }
    }

    fn visit_ts_external_module_declaration(&mut self, it: &TSExternalModuleDeclaration<'a>) {
        self.edits.blank_statement(it.span);
    }

    fn visit_ts_global_declaration(&mut self, it: &TSGlobalDeclaration<'a>) {
        self.edits.blank_statement(it.span);
    }

    fn visit_ts_namespace_declaration(&mut self, it: &TSNamespaceDeclaration<'a>) {
        if it.declare {
            self.edits.blank_statement(it.span);
        } else {
            self.refuse(
                it.span.start,
                "write a module of its own in place of the namespace",
            );
        }
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &TSImportEqualsDeclaration<'a>) {
        self.refuse(
            it.span.start,
            "write `import … from` in place of `import =`",
        );
    }

    fn visit_ts_export_assignment(&mut self, it: &TSExportAssignment<'a>) {
        self.refuse(
            it.span.start,
            "write `export default` in place of `export =`",
        );
    }
}

/// Whether nothing of a declaration is left at run time.
fn is_only_type(declaration: &Declaration<'_>) -> bool {
    match declaration {
        Declaration::TSTypeAliasDeclaration(_)
        | Declaration::TSInterfaceDeclaration(_)
        | Declaration::TSExternalModuleDeclaration(_)
        | Declaration::TSGlobalDeclaration(_) => true,
        Declaration::VariableDeclaration(own) => own.declare,
        Declaration::FunctionDeclaration(own) => own.declare || own.body.is_none(),
        Declaration::ClassDeclaration(own) => own.declare,
        Declaration::TSEnumDeclaration(own) => own.declare,
        Declaration::TSNamespaceDeclaration(own) => own.declare,
        Declaration::TSImportEqualsDeclaration(_) => false,
    }
}

/// Characters of `abstract` and of `class`.
const ABSTRACT_LEN: u32 = 8;
const CLASS_LEN: u32 = 5;

/// Words before members and parameters that JavaScript does not know.
const MODIFIERS: &[&str] = &[
    "abstract",
    "declare",
    "override",
    "private",
    "protected",
    "public",
    "readonly",
];
