//! Route tables: each route is declared once, with its handler and its description. The router, its 405s and the OpenAPI document come of it.

mod document;
mod parameters;
mod schemas;
mod tidy;

use std::any::type_name;

use axum::{
    Router,
    handler::Handler,
    middleware::{from_fn, map_response},
    response::Response,
    routing::{MethodFilter, MethodRouter, on},
};
use http::{HeaderValue, Method, header};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::{
    fallback,
    problem::{Kind, STANDARD},
    query, shape,
};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One method of one path: its handler, and what clients may know of it.
pub struct Route<S = ()> {
    method: Method,
    path: &'static str,
    handler: MethodRouter<S>,
    about: About,
}

/// Information that a document gives about its API.
#[derive(Debug, Clone, Copy)]
pub struct Information<'a> {
    /// The API's name.
    pub title: &'a str,
    /// The program's version.
    pub version: &'a str,
    /// The API's purpose.
    pub description: &'a str,
    /// An SPDX expression.
    pub license: &'a str,
    /// Tags of routes, each with what it stands for.
    pub tags: &'a [(&'a str, &'a str)],
}

#[derive(Default)]
struct About {
    summary: &'static str,
    description: &'static str,
    tag: &'static str,
    path_params: Vec<PathParam>,
    query: Option<SchemaOf>,
    body: Option<Body>,
    example: Option<Value>,
    links: Vec<(&'static str, &'static str)>,
    answers: Vec<Answer>,
    problems: Vec<Kind>,
}

struct PathParam {
    name: &'static str,
    description: &'static str,
    schema: SchemaOf,
}

#[derive(Clone, Copy)]
struct Body {
    schema: SchemaOf,
    /// True where a body must be sent: one with required fields, or to any method but POST.
    is_required: bool,
}

struct Answer {
    status: u16,
    media_type: &'static str,
    schema: Option<SchemaOf>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// A GET, which answers HEAD too.
    pub fn get<T: 'static, H: Handler<T, S>>(path: &'static str, handler: H) -> Self {
        Self::new(Method::GET, MethodFilter::GET, path, handler)
    }

    /// A POST.
    pub fn post<T: 'static, H: Handler<T, S>>(path: &'static str, handler: H) -> Self {
        Self::new(Method::POST, MethodFilter::POST, path, handler)
    }

    /// A PUT.
    pub fn put<T: 'static, H: Handler<T, S>>(path: &'static str, handler: H) -> Self {
        Self::new(Method::PUT, MethodFilter::PUT, path, handler)
    }

    /// A PATCH; its body is a JSON Merge Patch.
    pub fn patch<T: 'static, H: Handler<T, S>>(path: &'static str, handler: H) -> Self {
        Self::new(Method::PATCH, MethodFilter::PATCH, path, handler)
    }

    /// A DELETE.
    pub fn delete<T: 'static, H: Handler<T, S>>(path: &'static str, handler: H) -> Self {
        Self::new(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    fn new<T: 'static, H: Handler<T, S>>(method: Method, filter: MethodFilter, path: &'static str, handler: H) -> Self {
        Self { method, path, handler: on(filter, handler), about: About::default() }
    }

    /// What it does, in a few words.
    #[must_use]
    pub fn summary(mut self, summary: &'static str) -> Self {
        self.about.summary = summary;
        self
    }

    /// What else there is to know.
    #[must_use]
    pub fn description(mut self, description: &'static str) -> Self {
        self.about.description = description;
        self
    }

    /// The group of routes it is listed with.
    #[must_use]
    pub fn tag(mut self, tag: &'static str) -> Self {
        self.about.tag = tag;
        self
    }

    /// The handler reads what stands in the path for `name` as a `T`.
    #[must_use]
    pub fn path_param<T: JsonSchema + 'static>(mut self, name: &'static str, description: &'static str) -> Self {
        self.about.path_params.push(PathParam { name, description, schema: SchemaGenerator::subschema_for::<T> });
        self
    }

    /// The handler takes a [`crate::Query`] of `T`.
    #[must_use]
    pub fn query<T: JsonSchema + 'static>(mut self) -> Self {
        self.about.query = Some(T::json_schema);
        self.compiled::<T>()
    }

    /// The handler takes a [`crate::Json`] of `T`.
    #[must_use]
    pub fn body<T: JsonSchema + 'static>(mut self) -> Self {
        let has_required = shape::of::<T>().is_ok_and(|shape| shape.schema.get("required").is_some_and(|names| *names != json!([])));
        // Of a POST that may be empty nothing need be sent.
        let is_required = has_required || self.method != Method::POST;
        self.about.body = Some(Body { schema: SchemaGenerator::subschema_for::<T>, is_required });
        self.compiled::<T>()
    }

    /// A body that is accepted where the ids in it are known.
    #[must_use]
    pub fn example(mut self, body: Value) -> Self {
        self.about.example = Some(body);
        self
    }

    /// Accepted, it answers with `status` and a `T` in JSON.
    #[must_use]
    pub fn answers<T: JsonSchema + 'static>(mut self, status: u16) -> Self {
        self.about.answers.push(Answer { status, media_type: "application/json", schema: Some(SchemaGenerator::subschema_for::<T>) });
        self
    }

    /// Accepted, it answers with `status` and a body of another media type, or none where that is `""`.
    #[must_use]
    pub fn answers_with(mut self, status: u16, media_type: &'static str) -> Self {
        self.about.answers.push(Answer { status, media_type, schema: None });
        self
    }

    /// The answer tells the last name in the path `address`, by `expression` of OpenAPI's links, as in `$response.body#/id`: all that may be
    /// asked at this address and below it is linked.
    #[must_use]
    pub fn leads_to(mut self, address: &'static str, expression: &'static str) -> Self {
        self.about.links.push((address, expression));
        self
    }

    /// A refusal of its own, besides those that the edge gives.
    #[must_use]
    pub fn problem(mut self, status: u16, code: &'static str, meaning: &'static str) -> Self {
        self.about.problems.push(Kind { code, status, meaning });
        self
    }

    /// Compiles the schema now, so that the first request doesn't wait for it, and a bad one is seen at the start.
    fn compiled<T: JsonSchema + 'static>(self) -> Self {
        debug_assert!(shape::of::<T>().is_ok(), "the schema of {} can't be compiled", type_name::<T>());
        let _ = shape::of::<T>();
        self
    }
}

/// A table of routes. Tables of several crates become one by [`Routes::merge`]; a path may have its methods in different tables.
pub struct Routes<S = ()> {
    routes: Vec<Route<S>>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Adds one.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a builder's step, not arithmetic")]
    pub fn add(mut self, route: Route<S>) -> Self {
        self.routes.push(route);
        self
    }

    /// Adds all of another table.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// Gives the handlers their state, so that tables of different states can be merged.
    #[must_use]
    pub fn with_state<S2: Clone + Send + Sync + 'static>(self, state: S) -> Routes<S2> {
        let with_state = |route: Route<S>| Route {
            method: route.method,
            path: route.path,
            handler: route.handler.with_state(state.clone()),
            about: route.about,
        };
        Routes { routes: self.routes.into_iter().map(with_state).collect() }
    }

    /// Puts `wrap` around every route that writes, within what is answered for paths and methods that there are none of.
    #[must_use]
    pub fn around_writes(mut self, wrap: impl Fn(MethodRouter<S>) -> MethodRouter<S>) -> Self {
        for route in self.routes.iter_mut().filter(|route| route.method != Method::GET) {
            route.handler = wrap(std::mem::take(&mut route.handler));
        }
        self
    }

    /// The router: 404 for unknown paths, 405 with the right `Allow` for other methods. Merge all tables first.
    ///
    /// # Panics
    /// Where one method of one path is declared twice.
    pub fn into_router(self) -> Router<S> {
        let mut paths: Vec<(&'static str, Vec<Method>, MethodRouter<S>)> = Vec::new();
        for mut route in self.routes {
            if route.about.query.is_none() {
                route.handler = route.handler.layer(from_fn(query::refuse_any));
            }
            if route.method == Method::GET {
                route.handler = route.handler.layer(map_response(revalidated));
            }
            match paths.iter_mut().find(|(path, ..)| same_path(path, route.path)) {
                Some((_, methods, handlers)) => {
                    methods.push(route.method);
                    *handlers = std::mem::take(handlers).merge(route.handler);
                }
                None => paths.push((route.path, vec![route.method], route.handler)),
            }
        }
        let router = Router::new().fallback(fallback::not_found);
        paths.into_iter().fold(router, |router, (path, methods, handlers)| {
            let allow = allow(&methods);
            router.route(path, handlers.fallback(move |method: Method| async move { fallback::other_method(&method, &allow) }))
        })
    }

    /// The OpenAPI 3.1 document of the table.
    pub fn openapi(&self, information: &Information<'_>) -> Value {
        document::of(&self.routes, information)
    }

    /// Every kind of refusal that clients may meet, by status and code.
    pub fn problems(&self) -> Vec<Kind> {
        let mut kinds: Vec<_> = self.routes.iter().flat_map(|route| &route.about.problems).chain(&STANDARD).copied().collect();
        kinds.sort_by_key(|kind| (kind.status, kind.code));
        kinds.dedup_by_key(|kind| (kind.status, kind.code));
        kinds
    }
}

/// Adds `Cache-Control: no-cache` to an answer without one: what may change is kept by nobody without asking whether it has.
async fn revalidated(mut response: Response) -> Response {
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

fn allow(methods: &[Method]) -> HeaderValue {
    let mut names: Vec<_> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        names.push("HEAD");
    }
    names.sort_unstable();
    HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("GET"))
}

/// Whether two templates are the same but for the names in braces.
fn same_path(a: &str, b: &str) -> bool {
    let is_name = |part: &str| part.starts_with('{') && part.ends_with('}');
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (is_name(a) && is_name(b)) => {}
            _ => return false,
        }
    }
}
