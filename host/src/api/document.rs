//! The OpenAPI document: what the handlers say of themselves, and what holds for all of them.

use utoipa::{
    OpenApi,
    openapi::{
        self, Content, Ref, RefOr, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::problem::{MEDIA_TYPE, Problem};

/// What the document begins with; the routes are added by the router.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "host",
        description = "Sends tasks to a `host` installation, and looks after it. Every error is a problem document (RFC 9457). \
            The scope that a token must have is named with each operation; `admin` has all. A parameter `tenant` is for the \
            operator's tokens; all others act for their own tenant.",
        license(name = "Apache-2.0"),
    ),
    components(schemas(Problem)),
    tags(
        (name = "tasks", description = "Sending tasks, and what becomes of them"),
        (name = "queues", description = "What waits, and what was given up"),
        (name = "plugins", description = "Uploaded code and its versions"),
        (name = "admin", description = "Tenants, tokens, and who did what"),
        (name = "health", description = "Whether the server works"),
    ),
)]
pub struct Beginning;

/// The security scheme by which operations name their scopes.
pub const TOKEN: &str = "token";

/// Adds what holds for all operations: how a token is shown, and that any error is a problem.
pub fn finish(mut document: openapi::OpenApi) -> openapi::OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("host_ID_SECRET")
        .description(Some("Made by `host token create`, or by POST /v1/tokens."))
        .build();
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(TOKEN.to_owned(), RefOr::T(SecurityScheme::Http(bearer)));
    let problem = ResponseBuilder::new()
        .description("It was not done; the problem says why.")
        .content(MEDIA_TYPE, Content::new(Some(Ref::from_schema_name("Problem"))))
        .build();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.entry("default".to_owned()).or_insert(RefOr::T(problem.clone()));
        }
    }
    document
}
