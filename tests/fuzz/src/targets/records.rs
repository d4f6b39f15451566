//! What the store keeps of tenants, tokens, secrets and uploads: perhaps another host wrote it, or somebody by hand.

use host::{
    tenant::{MasterKey, SealedSecret, Shown, TenantRecord, Token, UploadKey},
    uploads::Uploaded,
};
use jiff::Timestamp;

use super::{assert_one_short_line, tenant};

/// A record of any kind, a token as it is shown, or a key.
pub fn record(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match TenantRecord::parse(&tenant(), text) {
        Ok(record) => {
            let again = serde_json::to_string(&record).expect("a record can be written");
            let again = TenantRecord::parse(&tenant(), &again).expect("what was written can be read");
            assert_eq!(again, record);
        }
        Err(refusal) => assert_one_short_line(&refusal.to_string()),
    }
    let shown = Shown::parse(text.trim_matches('"'));
    if let Ok(token) = serde_json::from_str::<Token>(text) {
        for shown in shown.iter() {
            token.accepts(shown, Timestamp::UNIX_EPOCH);
        }
    }
    drop(serde_json::from_str::<SealedSecret>(text));
    drop(serde_json::from_str::<Uploaded>(text));
    drop(MasterKey::parse(text));
    drop(text.parse::<UploadKey>());
}
