//! Which version of a plugin is run: set, put back, tried, approved, removed.

use jiff::Timestamp;

use super::{
    Canary, Held, Live, UploadError, Uploaded, Uploads, Version,
    canary::is_worse,
    change::{Changing, Step},
    record::{Runs, shown, version_key},
};
use crate::task::Tenant;

/// Who is named in the audit for what happens by itself.
const ITSELF: &str = "host";

impl Uploads {
    /// Has all calls go to this version.
    pub async fn activate(
        &self,
        tenant: &Tenant,
        plugin: &str,
        digest: &str,
        actor: &str,
    ) -> Result<Uploaded, UploadError> {
        let activate = |uploaded: &mut Uploaded| {
            let digest = usable(uploaded.version(digest)?)?;
            if uploaded.active.as_ref() == Some(&digest) {
                return Ok(None);
            }
            let detail = instead(uploaded);
            uploaded.activate(&digest);
            Ok(Some(Step { action: "plugin.activate", digest: Some(digest), detail, ..Step::default() }))
        };
        self.change_known(&Changing { tenant, plugin, actor }, activate).await
    }

    /// Has all calls go to the version that was active before.
    pub async fn roll_back(
        &self,
        tenant: &Tenant,
        plugin: &str,
        actor: &str,
    ) -> Result<Uploaded, UploadError> {
        let roll_back = |uploaded: &mut Uploaded| {
            let before = uploaded.before.clone().ok_or_else(|| {
                UploadError::conflict("there was no other version before it to which it could go back")
            })?;
            let digest = usable(uploaded.version(&before)?)?;
            let detail = instead(uploaded);
            uploaded.activate(&digest);
            Ok(Some(Step { action: "plugin.rollback", digest: Some(digest), detail, ..Step::default() }))
        };
        self.change_known(&Changing { tenant, plugin, actor }, roll_back).await
    }

    /// Has so many calls of a hundred go to this version, in place of another canary if there is one.
    pub async fn start_canary(
        &self,
        tenant: &Tenant,
        plugin: &str,
        digest: &str,
        share: u8,
        actor: &str,
    ) -> Result<Uploaded, UploadError> {
        let start = |uploaded: &mut Uploaded| {
            let digest = usable(uploaded.version(digest)?)?;
            try_out(uploaded, &digest, share)?;
            let detail = Some(format!("{share} of 100 calls"));
            Ok(Some(Step { action: "plugin.canary", digest: Some(digest), detail, ..Step::default() }))
        };
        self.change_known(&Changing { tenant, plugin, actor }, start).await
    }

    /// Has no more calls go to the canary.
    pub async fn stop_canary(
        &self,
        tenant: &Tenant,
        plugin: &str,
        actor: &str,
    ) -> Result<Uploaded, UploadError> {
        let stop = |uploaded: &mut Uploaded| {
            let canary = uploaded.canary.take().ok_or_else(no_canary)?;
            Ok(Some(Step { action: "plugin.canary.stop", digest: Some(canary.digest), ..Step::default() }))
        };
        self.change_known(&Changing { tenant, plugin, actor }, stop).await
    }

    /// Has all calls go to the canary.
    pub async fn promote_canary(
        &self,
        tenant: &Tenant,
        plugin: &str,
        actor: &str,
    ) -> Result<Uploaded, UploadError> {
        let promote = |uploaded: &mut Uploaded| {
            let digest = uploaded.canary.as_ref().ok_or_else(no_canary)?.digest.clone();
            let detail = instead(uploaded);
            uploaded.activate(&digest);
            Ok(Some(Step {
                action: "plugin.canary.promote",
                digest: Some(digest),
                detail,
                ..Step::default()
            }))
        };
        self.change_known(&Changing { tenant, plugin, actor }, promote).await
    }

    /// Rolls the canary back if it fails more often than the active version; answers which version that was, if this call did
    /// it.
    pub async fn judge(&self, tenant: &Tenant, plugin: &str) -> Result<Option<String>, UploadError> {
        let uploaded = self.show(tenant, plugin).await?;
        let (Some(canary), Some(active)) = (&uploaded.canary, &uploaded.active) else { return Ok(None) };
        let names = [active, &canary.digest].map(|digest| version_key(tenant, plugin, digest));
        let counted: Vec<_> = self.counts.counted(&names).await?.iter().map(Runs::from).collect();
        let [all, own] = counted[..] else { return Ok(None) };
        let since = [all.since(canary.begin[0]), own.since(canary.begin[1])];
        let beside = if since[0].calls == 0 { all } else { since[0] };
        if !is_worse(since[1], beside) {
            return Ok(None);
        }
        let condemned = canary.digest.clone();
        let detail = format!(
            "{} of {} calls failed, and {} of {} beside it",
            since[1].failures, since[1].calls, beside.failures, beside.calls
        );
        let mut done = false;
        let roll_back = |now: &mut Uploaded| {
            // Somebody has done it, or begun another trial.
            done = now.canary == uploaded.canary && now.active == uploaded.active;
            if !done {
                return Ok(None);
            }
            now.canary = None;
            if let Some(version) = now.version_mut(&condemned) {
                version.failed = true;
            }
            let (digest, detail) = (Some(condemned.clone()), Some(detail.clone()));
            Ok(Some(Step { action: "plugin.canary.rollback", digest, detail, ..Step::default() }))
        };
        let of = Changing { tenant, plugin, actor: ITSELF };
        self.change_known(&of, roll_back).await?;
        Ok(done.then_some(condemned))
    }

    /// Lets a version be run that was held, and does with it what was asked for when it was pushed. For admins only: whoever
    /// calls this has seen to that.
    pub async fn approve(
        &self,
        tenant: &Tenant,
        plugin: &str,
        digest: &str,
        actor: &str,
    ) -> Result<Uploaded, UploadError> {
        let approve = |uploaded: &mut Uploaded| {
            let digest = uploaded.version(digest)?.digest.clone();
            let held = uploaded.version_mut(&digest).and_then(|version| version.held.take());
            let Some(Held { asks, then }) = held else { return Ok(None) };
            set_live(uploaded, &digest, then)?;
            let detail = Some(asks.join(", "));
            Ok(Some(Step { action: "plugin.approve", digest: Some(digest), detail, ..Step::default() }))
        };
        self.change_known(&Changing { tenant, plugin, actor }, approve).await
    }

    /// Removes a version that is not run.
    pub async fn remove_version(
        &self,
        tenant: &Tenant,
        plugin: &str,
        digest: &str,
        actor: &str,
    ) -> Result<Uploaded, UploadError> {
        let remove = |uploaded: &mut Uploaded| {
            let digest = uploaded.version(digest)?.digest.clone();
            let runs = uploaded.canary.as_ref().is_some_and(|canary| canary.digest == digest);
            if runs || uploaded.active.as_ref() == Some(&digest) {
                let reason = "it is run; activate another one or stop the canary first, or remove the plugin";
                return Err(UploadError::conflict(format!(
                    "version {} cannot be removed: {reason}",
                    shown(&digest)
                )));
            }
            uploaded.versions.retain(|version| version.digest != digest);
            uploaded.before = uploaded.before.take().filter(|before| *before != digest);
            Ok(Some(Step { action: "plugin.version.remove", digest: Some(digest), ..Step::default() }))
        };
        let uploaded = self.change_known(&Changing { tenant, plugin, actor }, remove).await?;
        self.clean_up().await?;
        Ok(uploaded)
    }

    /// Removes a plugin with all its versions.
    pub async fn remove(&self, tenant: &Tenant, plugin: &str, actor: &str) -> Result<(), UploadError> {
        let remove = |uploaded: &mut Uploaded| {
            let detail = Some(format!("{} versions", uploaded.versions.len()));
            let digest = uploaded.active.clone();
            *uploaded = Uploaded::default();
            Ok(Some(Step { action: "plugin.remove", digest, detail, ..Step::default() }))
        };
        self.change_known(&Changing { tenant, plugin, actor }, remove).await?;
        self.clean_up().await.map(drop)
    }
}

/// Does with a version what was asked for.
pub(super) fn set_live(uploaded: &mut Uploaded, digest: &str, live: Live) -> Result<(), UploadError> {
    match live {
        Live::Active => uploaded.activate(digest),
        Live::Canary(share) => try_out(uploaded, digest, share)?,
        Live::Stored => {}
    }
    Ok(())
}

fn try_out(uploaded: &mut Uploaded, digest: &str, share: u8) -> Result<(), UploadError> {
    if !(1..=100).contains(&share) {
        let (what, reason) = ("the share of a canary", "it is from 1 to 100, in calls of a hundred");
        return Err(UploadError::Value { what, value: share.to_string(), reason });
    }
    match uploaded.active.as_deref() {
        None => {
            return Err(UploadError::conflict("there is no active version beside which it could be tried"));
        }
        Some(active) if active == digest => {
            return Err(UploadError::conflict("it is the active version, which all calls go to"));
        }
        Some(_) => {}
    }
    if let Some(version) = uploaded.version_mut(digest) {
        version.failed = false;
    }
    let since = Timestamp::now();
    uploaded.canary = Some(Canary { digest: digest.to_owned(), share, since, begin: Default::default() });
    Ok(())
}

/// The digest of a version, if it may be run.
fn usable(version: &Version) -> Result<String, UploadError> {
    match &version.held {
        None => Ok(version.digest.clone()),
        Some(held) => Err(UploadError::Held { digest: shown(&version.digest), asks: held.asks.clone() }),
    }
}

/// In whose place a version comes.
fn instead(uploaded: &Uploaded) -> Option<String> {
    uploaded.active.as_ref().map(|active| format!("instead of {active}"))
}

fn no_canary() -> UploadError {
    UploadError::conflict("there is no canary")
}
