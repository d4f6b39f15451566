//! Uploads: this worker runs what the records say, and tells how it went.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Outage, Worker, lease::BEAT};

/// How often code is looked for that nobody needs; each worker waits another time.
const CLEANING: Duration = Duration::from_secs(600);

/// Follows the records, for ever.
pub(super) async fn follow(worker: &Worker) {
    let mut outage = Outage::new("follow the uploads");
    loop {
        match worker.uploads.look().await {
            Ok(()) => {
                outage.over();
                worker.uploads.news().await;
            }
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
    }
}

/// Adds up calls and failures of versions as often as the heartbeat beats, for ever.
pub(super) async fn report(worker: &Worker) {
    let mut outage = Outage::new("count the calls of uploads");
    let mut cleaning = Instant::now() + CLEANING.mul_f64(fastrand::f64());
    loop {
        sleep(BEAT).await;
        match worker.uploads.report().await {
            Ok(()) => outage.over(),
            Err(error) => outage.wait(&error, &worker.shutdown).await,
        }
        if Instant::now() >= cleaning {
            worker.uploads.clean_up().await;
            cleaning = Instant::now() + CLEANING;
        }
    }
}
