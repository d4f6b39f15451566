//! Owners of deliveries and their leases.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::{clock::LeaseClock, tag};
use crate::store::{Report, Tag};

/// Whether a row of `owners` tells of somebody who lives; `:boot` and `:now` are of [`LeaseClock`]. A lease that lies
/// ahead is of an earlier boot.
macro_rules! alive {
    () => {
        "(owners.boot = :boot AND owners.renewed <= :now AND :now - owners.renewed < owners.lease)"
    };
}
pub(super) use alive;

/// A lease as it is stored, in milliseconds; the largest is some years.
fn millis(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX).min(1 << 40)
}

/// Gives a lease to an owner that has none: who takes lives, even before its first heartbeat.
pub fn begin(
    connection: &Connection,
    owner: &str,
    clock: &LeaseClock,
    lease: Duration,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(concat!(
            "INSERT INTO owners (owner, boot, renewed, lease) VALUES (:owner, :boot, :now, :lease)
             ON CONFLICT DO UPDATE SET boot = :boot, renewed = :now, lease = :lease WHERE NOT ",
            alive!()
        ))?
        .execute(rusqlite::named_params! {
            ":owner": owner, ":boot": clock.boot, ":now": clock.now(), ":lease": millis(lease),
        })
        .map(drop)
}

/// Renews a lease. Answers which deliveries the owner has lost since it last asked.
pub fn beat(
    connection: &Connection,
    owner: &str,
    clock: &LeaseClock,
    lease: Duration,
    report: &str,
) -> rusqlite::Result<Vec<Tag>> {
    connection
        .prepare_cached(
            "INSERT INTO owners (owner, boot, renewed, lease, report) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET boot = ?2, renewed = ?3, lease = ?4, report = ?5",
        )?
        .execute(params![owner, clock.boot, clock.now(), millis(lease), report])?;
    connection
        .prepare_cached("DELETE FROM lost WHERE owner = ?1 RETURNING number")?
        .query_map([owner], |row| Ok(tag::tag(owner, row.get(0)?)))?
        .collect()
}

/// Ends a lease.
pub fn leave(connection: &Connection, owner: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM owners WHERE owner = ?1")?.execute([owner]).map(drop)
}

/// Those who hold something and do not live, but for `own`.
pub fn dead(connection: &Connection, own: &str, clock: &LeaseClock) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(concat!(
            "SELECT DISTINCT owner FROM messages AS held WHERE state = 1 AND owner != :own AND NOT EXISTS
                (SELECT 1 FROM owners WHERE owners.owner = held.owner AND ",
            alive!(),
            ")"
        ))?
        .query_map(
            rusqlite::named_params! { ":own": own, ":boot": clock.boot, ":now": clock.now() },
            |row| row.get(0),
        )?
        .collect()
}

/// What those who live tell of themselves.
pub fn reports(connection: &Connection, clock: &LeaseClock) -> rusqlite::Result<Vec<Report>> {
    let texts = connection
        .prepare_cached(concat!("SELECT report FROM owners WHERE report IS NOT NULL AND ", alive!()))?
        .query_map(rusqlite::named_params! { ":boot": clock.boot, ":now": clock.now() }, |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    // One that cannot be read was written by a version that tells other things.
    Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(boot: &str, renewed: i64, lease: i64) -> bool {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let insert = "INSERT INTO owners VALUES ('o', ?1, ?2, ?3, NULL)";
        connection.execute(insert, params![boot, renewed, lease]).unwrap();
        let held = "INSERT INTO messages (state, queue, step, owner, number, message) VALUES (1, 'q', 0, 'o', 1, x'')";
        connection.execute(held, ()).unwrap();
        dead(&connection, "another", &LeaseClock::new()).unwrap().is_empty()
    }

    #[test]
    fn a_lease_counts_in_its_own_boot_and_time() {
        let clock = LeaseClock::new();
        let now = clock.now();
        assert!(alive(&clock.boot, now - 1_000, 60_000));
        assert!(!alive(&clock.boot, now - 1_000, 1_000), "it has run out");
        assert!(!alive("another boot", now - 1_000, 60_000));
        assert!(!alive(&clock.boot, now + 60_000, 120_000), "this boot has not come so far");
    }
}
