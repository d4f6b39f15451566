//! BullMQ, the fastest of the workers without a sandbox that were tried, to compare with if it is installed.

use std::{path::PathBuf, process::Command};

use crate::support::TestRedis;

/// BullMQ with a Redis of its own.
pub struct BullMq {
    redis: TestRedis,
    script: PathBuf,
}

impl BullMq {
    /// Nothing when it is not installed, which `tests/speed/run` does where there is npm.
    pub fn find() -> Option<Self> {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/speed/bullmq/drain.js");
        script.with_file_name("node_modules").exists().then(|| Self { redis: TestRedis::start(), script })
    }

    /// How many jobs that divide it does in a second, each with a result that is stored.
    pub fn rate(&self, count: usize) -> f64 {
        self.redis.ask::<()>(&["FLUSHDB"]);
        let (_, port) = self.redis.address();
        let mut node = Command::new("node");
        let output = node.arg(&self.script).args([port.to_string(), count.to_string()]).output();
        let output = output.expect("where there is npm there is node");
        let told = String::from_utf8_lossy(&output.stdout);
        told.trim().parse().unwrap_or_else(|_| panic!("{told}{}", String::from_utf8_lossy(&output.stderr)))
    }
}
