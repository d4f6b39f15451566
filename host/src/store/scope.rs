//! How an engine names what several tenants may call alike: as its owner does, after the owner's name.

use std::borrow::Cow;

use crate::task::Tenant;

/// Parts the tenant from the name. No name can contain it: names have no control characters.
const SEPARATOR: &str = "\x06\x16";

/// What a tenant calls `name`, as no other tenant's is named. The default tenant's names stay as they are.
pub fn scoped<'a>(tenant: &Tenant, name: &'a str) -> Cow<'a, str> {
    match tenant.name() {
        None => Cow::Borrowed(name),
        Some(tenant) => Cow::Owned(format!("{tenant}{SEPARATOR}{name}")),
    }
}

/// Whose `scoped` is, and what its owner calls it; `None` if the tenant is none.
pub fn unscoped(scoped: &str) -> Option<(Tenant, &str)> {
    match scoped.split_once(SEPARATOR) {
        None => Some((Tenant::DEFAULT, scoped)),
        Some((tenant, name)) => Some((Tenant::new(tenant).ok()?, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_one_tenant_is_that_of_another() {
        let acme = Tenant::new("acme").unwrap();
        for name in ["app.divide", "acme/app.divide", "other/x", ""] {
            for tenant in [Tenant::DEFAULT, acme.clone()] {
                assert_eq!(unscoped(&scoped(&tenant, name)), Some((tenant, name)));
            }
        }
        assert_eq!(unscoped("No Tenant\x06\x16x"), None);
    }
}
