//! Code that no version names any more goes.

use std::{collections::HashSet, time::Duration};

use super::{UploadError, Uploaded, Uploads, record};
use crate::store::Table;

/// How long code is kept that no version names: whoever has put it is about to write the record that does.
pub(super) const GRACE: Duration = Duration::from_secs(10);

impl Uploads {
    /// Drops the code that no version of any tenant names, and answers how many blobs that were. A record that cannot be read may
    /// name any of them: then all stay.
    pub async fn clean_up(&self) -> Result<u64, UploadError> {
        let stored = self.blobs.blobs().await?;
        if stored.is_empty() {
            return Ok(0);
        }
        let (_, records) = self.records.records(Table::Plugins).await?;
        let mut needed = HashSet::new();
        for record in records.iter().filter(|record| record::of_key(&record.key).is_some()) {
            needed.extend(Uploaded::read(record)?.versions.into_iter().map(|version| version.code));
        }
        let unneeded: Vec<_> =
            stored.into_iter().map(|(digest, _)| digest).filter(|digest| !needed.contains(digest)).collect();
        if unneeded.is_empty() {
            return Ok(0);
        }
        Ok(self.blobs.drop_blobs(&unneeded, self.grace).await?)
    }
}
