//! A door for the fuzz targets (`tests/fuzz`): bodies of requests, read as the routes read them. Nobody else has a use for it.

use serde::de::DeserializeOwned;

use super::{
    input::json,
    plugins::{Chosen, Trial},
    tasks::{batch::Batch, revoke::Revoke, submit::Call},
    tokens::{NewToken, Rotation},
};

/// What whoever sends these bytes to each of the routes is told of them, where they are refused.
pub fn refusals(bytes: &[u8]) -> Vec<String> {
    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
        json::<T>(bytes).err().map(|problem| problem.detail)
    }
    let routes = [
        read::<Call>,
        read::<Batch>,
        read::<Revoke>,
        read::<NewToken>,
        read::<Rotation>,
        read::<Chosen>,
        read::<Trial>,
    ];
    routes.into_iter().filter_map(|read| read(bytes)).collect()
}
