//! Making, rotating and revoking tokens. The command line does it by the same functions.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    access::Caller,
    input::JsonBody,
    problem::{Problem, named},
};
use crate::{
    store::{Change, Entry, Record, Records, StoreError, Table},
    task::Tenant,
    tenant::{InvalidToken, NewSecret, Random, Scope, Token},
};

/// A token that is wanted.
pub struct Wanted {
    /// Whose; none: the operator's.
    pub tenant: Option<Tenant>,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// What is said of it.
    pub label: String,
    /// Until when it can be used.
    pub expires: Option<Timestamp>,
}

/// Why a token was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There can be no such token.
    #[error(transparent)]
    Invalid(#[from] InvalidToken),
    /// There are too many.
    #[error("there are {MOST} tokens, and no more can be made; revoke some, and make this one after a month")]
    TooMany,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// Others change it all the time.
    #[error("the token is changed by somebody else; try again")]
    Busy,
}

/// The most tokens, revoked ones among them: all are read whenever one changes.
const MOST: usize = 10_000;

/// How long a revoked token is listed.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often a change is tried that somebody else's comes before.
const TRIES: usize = 5;

fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Random)?;
    Ok(bytes)
}

/// Makes a token.
pub async fn create(
    records: &dyn Records,
    wanted: Wanted,
    actor: &str,
) -> Result<(Token, NewSecret), TokenError> {
    let (now, random) = (Timestamp::now(), Random { id: random()?, secret: random()? });
    let Wanted { tenant, scopes, label, expires } = wanted;
    let (token, secret) = Token::new(tenant, scopes, &label, expires, now, random)?;
    let (_, known) = records.records(Table::Tokens).await?;
    let is_old = |record: &&Record| {
        let token = serde_json::from_str::<Token>(&record.value).ok();
        token.and_then(|token| token.revoked).is_some_and(|revoked| revoked + REMEMBERED < now)
    };
    let old: Vec<_> = known.iter().filter(is_old).collect();
    if known.len() - old.len() >= MOST {
        return Err(TokenError::TooMany);
    }
    let drop_old = |record: &&Record| Change {
        table: Table::Tokens,
        key: record.key.clone(),
        was: Some(record.revision),
        value: None,
    };
    let change = Change { table: Table::Tokens, key: token.id.clone(), was: None, value: Some(text(&token)) };
    let changes: Vec<_> = [change].into_iter().chain(old.iter().map(drop_old)).collect();
    let entry = entry(actor, "token.create", &token);
    records.change(&changes, &entry).await?.ok_or(TokenError::Busy)?;
    Ok((token, secret))
}

/// Gives a token another secret, and lets the present one hold for a while; none if there is no such token that can be used.
pub async fn rotate(
    records: &dyn Records,
    id: &str,
    overlap: Duration,
    actor: &str,
) -> Result<Option<NewSecret>, TokenError> {
    let secret = random()?;
    change(records, id, actor, "token.rotate", |token, now| {
        let is_usable = token.revoked.is_none() && token.expires.is_none_or(|expires| now < expires);
        is_usable.then(|| token.rotate(now + overlap, secret))
    })
    .await
}

/// Makes a token unusable; answers whether there is one.
pub async fn revoke(records: &dyn Records, id: &str, actor: &str) -> Result<bool, TokenError> {
    let revoked = change(records, id, actor, "token.revoke", |token, now| {
        token.revoke(now);
        Some(())
    });
    Ok(revoked.await?.is_some())
}

/// What revokes all tokens of a tenant.
pub(super) async fn revocations(records: &dyn Records, tenant: &Tenant) -> Result<Vec<Change>, StoreError> {
    let (_, records) = records.records(Table::Tokens).await?;
    let revoke = |record: Record| {
        let mut token = serde_json::from_str::<Token>(&record.value).ok()?;
        let is_theirs = token.tenant.as_ref() == Some(tenant) && token.revoked.is_none();
        is_theirs.then(|| token.revoke(Timestamp::now()))?;
        Some(Change {
            table: Table::Tokens,
            key: record.key,
            was: Some(record.revision),
            value: Some(text(&token)),
        })
    };
    Ok(records.into_iter().filter_map(revoke).collect())
}

/// All tokens.
pub async fn all(records: &dyn Records) -> Result<Vec<Token>, TokenError> {
    let (_, records) = records.records(Table::Tokens).await?;
    Ok(records.iter().filter_map(|record| serde_json::from_str(&record.value).ok()).collect())
}

async fn change<T>(
    records: &dyn Records,
    id: &str,
    actor: &str,
    action: &str,
    mut change: impl FnMut(&mut Token, Timestamp) -> Option<T>,
) -> Result<Option<T>, TokenError> {
    for _ in 0..TRIES {
        let Some(record) = records.record(Table::Tokens, id).await? else { return Ok(None) };
        let Ok(mut token) = serde_json::from_str::<Token>(&record.value) else { return Ok(None) };
        let Some(done) = change(&mut token, Timestamp::now()) else { return Ok(None) };
        let value = Some(text(&token));
        let change = Change { table: Table::Tokens, key: record.key, was: Some(record.revision), value };
        if records.change(&[change], &entry(actor, action, &token)).await?.is_some() {
            return Ok(Some(done));
        }
    }
    Err(TokenError::Busy)
}

fn text(token: &Token) -> String {
    serde_json::to_string(token).expect("it is made of texts")
}

fn entry(actor: &str, action: &str, token: &Token) -> Entry {
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    Entry {
        at: Timestamp::now(),
        actor: actor.to_owned(),
        action: action.to_owned(),
        tenant: token.tenant.clone().unwrap_or_default(),
        subject: token.id.clone(),
        digest: None,
        detail: Some(format!("{} {}", scopes.join(","), token.label).trim_end().to_owned()),
    }
}

/// A token, without its secrets
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownToken {
    /// Names it; no secret
    id: String,
    /// Whose it is; `null`: the operator's; the default tenant is the empty text
    tenant: Option<String>,
    /// What it may be used for
    scopes: Vec<String>,
    /// What its maker says of it
    label: String,
    /// When it was made
    created: String,
    /// Until when it can be used
    expires: Option<String>,
    /// When it was revoked
    revoked: Option<String>,
}

/// What may be shown of a token.
pub fn shown(token: &Token) -> ShownToken {
    ShownToken {
        id: token.id.clone(),
        tenant: token.tenant.as_ref().map(|tenant| tenant.name().unwrap_or_default().to_owned()),
        scopes: token.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        label: token.label.clone(),
        created: token.created.to_string(),
        expires: token.expires.map(|at| at.to_string()),
        revoked: token.revoked.map(|at| at.to_string()),
    }
}

/// All tokens
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// In the order of their ids
    tokens: Vec<ShownToken>,
}

/// A token that is wanted
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose it is to be; none: the operator's; the default tenant is the empty text
    #[schema(pattern = "^([a-z0-9][a-z0-9_-]{0,62})?$")]
    tenant: Option<String>,
    /// What it may be used for
    #[schema(min_items = 1, max_items = 9)]
    scopes: Vec<String>,
    /// What is said of it in lists
    #[serde(default)]
    #[schema(max_length = 200)]
    label: String,
    /// It can be used for so many days
    #[schema(minimum = 1, maximum = 3650)]
    days: Option<u32>,
}

/// A token that was made
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeToken {
    /// Names it
    id: String,
    /// The token itself, which cannot be shown again
    token: String,
}

/// How a token is rotated
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The old secret holds for so many seconds more; a day if nothing is said
    #[schema(minimum = 0, maximum = 31_536_000)]
    overlap: Option<f64>,
}

/// List tokens
#[utoipa::path(get, path = "/v1/tokens", tag = "admin", security(("token" = ["admin"])), responses((status = OK, body = TokenList)))]
pub(super) async fn list_tokens(State(app): State<Arc<App>>) -> Result<Json<TokenList>, Problem> {
    let tokens = all(&*app.store.records).await?;
    Ok(Json(TokenList { tokens: tokens.iter().map(shown).collect() }))
}

/// Make a token
#[utoipa::path(post, path = "/v1/tokens", tag = "admin", security(("token" = ["admin"])), request_body = NewToken, responses((status = CREATED, body = MadeToken)))]
pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody { value, .. }: JsonBody<NewToken, { 16 << 10 }>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    let tenant = match value.tenant.as_deref() {
        None => None,
        Some("") => Some(Tenant::DEFAULT),
        Some(name) => Some(named("tenant", name)?),
    };
    let scopes = value.scopes.iter().map(|scope| scope.parse()).collect::<Result<_, String>>();
    let scopes = scopes.map_err(|error| Problem::invalid("scopes", error))?;
    if value.days.is_some_and(|days| !(1..=3650).contains(&days)) {
        return Err(Problem::invalid("days", "days are 1 to 3650"));
    }
    let expires = value.days.map(|days| Timestamp::now() + Duration::from_secs(u64::from(days) * 86_400));
    let wanted = Wanted { tenant, scopes, label: value.label, expires };
    let (token, secret) = create(&*app.store.records, wanted, &caller.actor).await?;
    Ok((StatusCode::CREATED, Json(MadeToken { id: token.id, token: secret.text })))
}

/// Give a token a new secret
#[utoipa::path(post, path = "/v1/tokens/{id}/rotate", tag = "admin", security(("token" = ["admin"])), params(("id" = String, Path, description = "The token's id")), request_body = Rotation, responses((status = OK, body = MadeToken)))]
pub(super) async fn rotate_token(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody { value, .. }: JsonBody<Rotation, 1024>,
) -> Result<Json<MadeToken>, Problem> {
    let overlap = value.overlap.unwrap_or(86_400.0);
    if !(0.0..=31_536_000.0).contains(&overlap) {
        return Err(Problem::invalid("overlap", "overlap is a number of seconds, a year at most"));
    }
    let overlap = Duration::from_secs_f64(overlap);
    let secret = rotate(&*app.store.records, &id, overlap, &caller.actor).await?;
    let secret = secret.ok_or_else(Problem::not_found)?;
    Ok(Json(MadeToken { id, token: secret.text }))
}

/// Revoke a token
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "admin", security(("token" = ["admin"])), params(("id" = String, Path, description = "The token's id")), responses((status = NO_CONTENT)))]
pub(super) async fn revoke_token(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let revoked = revoke(&*app.store.records, &id, &caller.actor).await?;
    revoked.then_some(StatusCode::NO_CONTENT).ok_or_else(Problem::not_found)
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Store(error) => error.into(),
            TokenError::Busy => Self::conflict(),
            TokenError::Random => Self::of_status(StatusCode::INTERNAL_SERVER_ERROR),
            TokenError::TooMany => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-tokens", error.to_string())
            }
            TokenError::Invalid(InvalidToken::Label) => Self::invalid("label", error.to_string()),
            TokenError::Invalid(_) => Self::invalid("scopes", error.to_string()),
        }
    }
}
