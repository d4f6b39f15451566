//! Who may have how much, and who may do what: what is set for each tenant, what follows from it, and the tokens. No I/O.
//!
//! A tenant without a record has [`TenantRecord::unset`]: one that has a name gets the usual quotas, the default tenant has
//! none, so that who is alone never meets a limit.

mod meter;
mod quotas;
mod record;
mod secret;
mod shares;
mod submit_rate;
mod token;
mod upload_key;

pub use quotas::{OverQuota, Quotas};
pub use record::{InvalidRecord, TenantRecord, Weight};
pub use secret::{InvalidSecret, LARGEST_SECRET, MasterKey, SealedSecret};
pub use shares::{Load, Portion, Seat, Shares, Terms};
pub use submit_rate::SubmitRate;
pub use token::{InvalidToken, NewSecret, Random, Scope, SecretHash, Shown, Token};
pub use upload_key::{InvalidUploadKey, UploadKey};
