//! `wasi:config`: the values of the plugin's manifest, and the secrets that it was granted.

use wasmtime::component::{HasSelf, Linker};

use super::{guest::Guest, refusals::Kind};
use bindings::wasi::config::store;

/// The traits that wasmtime makes out of the WIT files.
mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package host:config;
            world imports {
                import wasi:config/store@0.2.0-rc.1;
            }
        ",
        path: "../wit",
        world: "host:config/imports",
    });
}

/// Links the interface.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    bindings::Imports::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

impl store::Host for Guest {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        if let Some(value) = self.grants().config.get(&key) {
            return Ok(Some(value.clone()));
        }
        if self.grants().allows_secret(&key) {
            let secrets = self.secrets().map_err(store::Error::Upstream)?;
            return Ok(secrets.get(&key).map(|secret| secret.as_str().to_owned()));
        }
        let what = format!("config {key:?} (not in [grants] config or secrets)");
        self.refuser().refuse(Kind::Config, &what);
        Ok(None)
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        let secrets = self.secrets().map_err(store::Error::Upstream)?;
        let grants = self.grants();
        let mut all = grants.config.clone();
        let granted = secrets.iter().filter(|(name, _)| grants.allows_secret(name));
        all.extend(granted.map(|(name, secret)| (name.clone(), secret.as_str().to_owned())));
        Ok(all.into_iter().collect())
    }
}
