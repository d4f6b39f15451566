//! Who asks, and what they may do.
//!
//! What a route asks for stands in the OpenAPI document, where its handler declares it, and nowhere else: [`Rules`] are read out of
//! the document when the server starts. What the document does not know needs a token all the same, so that somebody without one learns
//! nothing. Where no token was ever made whoever reaches the port is the operator, as on a developer's machine.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Options, guard, problem::Problem};
use crate::{
    store::{Records, StoreError, Table},
    task::Tenant,
    tenant::{Scope, Shown, Token},
};

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As what they do is noted: `token 0f3a...`.
    pub actor: String,
    /// For whom they act; none: for every tenant, as the operator.
    tenant: Option<Tenant>,
}

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    Open,
    /// Any token.
    Token,
    /// A token with this scope.
    Scope(Scope),
}

/// What each route asks for, by method and path.
pub struct Rules(HashMap<(Method, String), Rule>);

/// Lets requests in.
pub struct Access {
    records: Arc<dyn Records>,
    rules: Rules,
    names: Vec<String>,
    /// Whether nobody needs a token for as long as none was made.
    open: bool,
    seen: Mutex<Seen>,
}

/// The tokens as they were seen last.
#[derive(Default)]
struct Seen {
    tokens: Arc<HashMap<String, Token>>,
    revision: Option<u64>,
    looked: Option<Instant>,
}

/// How long what was seen of the tokens counts: a revoked token is refused after this time everywhere.
pub const FRESH: Duration = Duration::from_millis(250);

impl Rules {
    /// Reads the document. A route that declares nothing is for admins.
    pub fn read(document: &Value) -> Self {
        let methods = |(path, item): (&String, &Value)| {
            let operations = item.as_object().into_iter().flatten();
            let rule = |(method, operation): (&String, &Value)| {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).ok()?;
                Some(((method, path.clone()), rule(operation)))
            };
            operations.filter_map(rule).collect::<Vec<_>>()
        };
        Self(document["paths"].as_object().into_iter().flatten().flat_map(methods).collect())
    }

    /// What this route asks for. HEAD is GET without a body.
    fn of(&self, method: &Method, path: Option<&str>) -> Rule {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let known = path.and_then(|path| self.0.get(&(method.clone(), path.to_owned())));
        known.copied().unwrap_or(Rule::Token)
    }
}

fn rule(operation: &Value) -> Rule {
    let requirement = &operation["security"][0];
    match &requirement["token"] {
        Value::Array(scopes) => match scopes.first() {
            None => Rule::Token,
            Some(scope) => {
                let scope = scope.as_str().and_then(|scope| scope.parse().ok());
                scope.map_or(Rule::Scope(Scope::Admin), Rule::Scope)
            }
        },
        _ if requirement.as_object().is_some_and(|none| none.is_empty()) => Rule::Open,
        _ => Rule::Scope(Scope::Admin),
    }
}

impl Access {
    /// By these rules and the tokens that are kept there.
    pub fn new(records: Arc<dyn Records>, rules: Rules, options: &Options) -> Self {
        Self { records, rules, names: options.names.clone(), open: options.open, seen: Mutex::default() }
    }

    /// Whether a token was ever made.
    pub async fn wants_tokens(&self) -> Result<bool, StoreError> {
        Ok(!self.tokens().await?.is_empty())
    }

    async fn tokens(&self) -> Result<Arc<HashMap<String, Token>>, StoreError> {
        let mut seen = self.seen.lock().await;
        if seen.looked.is_some_and(|looked| looked.elapsed() < FRESH) {
            return Ok(seen.tokens.clone());
        }
        let looked = Instant::now();
        if seen.revision != Some(self.records.revision().await?) {
            let (revision, records) = self.records.records(Table::Tokens).await?;
            // A token that cannot be read is one that nobody can use, but it was made.
            let tokens = records.into_iter().map(|record| {
                let token = serde_json::from_str(&record.value);
                (record.key.clone(), token.unwrap_or_else(|_| unreadable(&record.key)))
            });
            (seen.tokens, seen.revision) = (Arc::new(tokens.collect()), Some(revision));
        }
        seen.looked = Some(looked);
        Ok(seen.tokens.clone())
    }

    /// Who asks; none where nobody has to say so.
    async fn caller(&self, request: &Parts) -> Result<Option<Caller>, Problem> {
        let path = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let rule = self.rules.of(&request.method, path);
        if rule == Rule::Open {
            return Ok(None);
        }
        let tokens = self.tokens().await?;
        if tokens.is_empty() && self.open {
            guard::same_site(&request.uri, &request.headers, &self.names)?;
            return Ok(Some(Caller::operator("anonymous")));
        }
        let shown = shown(&request.headers).ok_or_else(|| Problem::of_status(StatusCode::UNAUTHORIZED))?;
        let token = tokens.get(&shown.id).filter(|token| token.accepts(&shown, Timestamp::now()));
        let token = token.ok_or_else(|| Problem::of_status(StatusCode::UNAUTHORIZED))?;
        if let Rule::Scope(scope) = rule
            && !token.may(scope)
        {
            let detail = format!("this needs a token with the scope {scope}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "scope-missing", detail));
        }
        Ok(Some(Caller { actor: format!("token {}", token.id), tenant: token.tenant.clone() }))
    }
}

/// The middleware: lets a request through with its [`Caller`], or refuses it.
pub async fn admit(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    match access.caller(&head).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                head.extensions.insert(caller);
            }
            next.run(Request::from_parts(head, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn shown(headers: &HeaderMap) -> Option<Shown> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Shown::parse(token.trim())).flatten()
}

fn unreadable(key: &str) -> Token {
    Token {
        id: key.to_owned(),
        tenant: Some(Tenant::DEFAULT),
        scopes: Default::default(),
        label: "unreadable".to_owned(),
        created: Timestamp::UNIX_EPOCH,
        expires: None,
        revoked: Some(Timestamp::UNIX_EPOCH),
        secrets: Vec::new(),
    }
}

impl Caller {
    /// One who acts for every tenant.
    pub fn operator(actor: &str) -> Self {
        Self { actor: actor.to_owned(), tenant: None }
    }

    /// The tenant that they ask about: their own. The operator names one, or means the default tenant.
    pub fn tenant(&self, asked: Option<&str>) -> Result<Tenant, Problem> {
        let asked = match asked {
            None => None,
            Some("") => Some(Tenant::DEFAULT),
            Some(name) => Some(super::problem::named("tenant", name)?),
        };
        match (&self.tenant, asked) {
            (None, asked) => Ok(asked.unwrap_or_default()),
            (Some(own), None) => Ok(own.clone()),
            (Some(own), Some(asked)) if *own == asked => Ok(asked),
            (Some(_), Some(_)) => {
                let detail = "this token is for one tenant, and not for the one that was named";
                Err(Problem::new(StatusCode::FORBIDDEN, "other-tenant", detail).about("tenant"))
            }
        }
    }

    /// The same; none: the operator asks about all.
    pub fn tenant_or_all(&self, asked: Option<&str>) -> Result<Option<Tenant>, Problem> {
        match (&self.tenant, asked) {
            (None, None) => Ok(None),
            _ => self.tenant(asked).map(Some),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only a handler of an open route has no caller, and none of those asks for one.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::of_status(StatusCode::UNAUTHORIZED))
    }
}
