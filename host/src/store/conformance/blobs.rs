//! Uploaded code stays as it is for as long as it may be needed, and its calls are counted.

use bytes::Bytes;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

pub async fn a_blob_is_written_once<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    assert_eq!((store.blob("d").await.unwrap(), store.blobs().await.unwrap()), (None, vec![]));
    let bytes = Bytes::from([b"\0asm\r\n\xff".as_slice(), &[7; 3 << 20]].concat());
    store.put_blob("d", &bytes).await.unwrap();
    other.put_blob("d", &Bytes::from_static(b"other")).await.unwrap();
    other.put_blob("a", &Bytes::new()).await.unwrap();
    assert_eq!(other.blob("d").await.unwrap(), Some(bytes.clone()));
    assert_eq!(other.blob("a").await.unwrap(), Some(Bytes::new()));
    assert_eq!(store.blobs().await.unwrap(), [("a".to_owned(), 0), ("d".to_owned(), bytes.len() as u64)]);
}

pub async fn a_blob_that_was_put_lately_is_not_dropped<E: Engine>() {
    let engine = E::start().await;
    let store = engine.connect().await;
    let [old, new, none] = ["old", "new", "none"].map(str::to_owned);
    for digest in [&old, &new] {
        store.put_blob(digest, &Bytes::from_static(b"x")).await.unwrap();
    }
    let both = [old.clone(), new.clone(), none];
    let second = Duration::from_secs(1);
    assert_eq!(store.drop_blobs(&both, HOUR).await.unwrap(), 0);
    in_time(async {
        while store.drop_blobs(std::slice::from_ref(&old), second).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Whoever puts it again is about to name it in a record.
    store.put_blob(&new, &Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(store.drop_blobs(&both, second).await.unwrap(), 0);
    assert_eq!(store.blobs().await.unwrap(), [(new.clone(), 1)]);
    assert_eq!(store.blob(&old).await.unwrap(), None);
    assert_eq!(store.drop_blobs(&[], Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.drop_blobs(&both, Duration::ZERO).await.unwrap(), 1);
    assert_eq!(store.blobs().await.unwrap(), []);
}

pub async fn counts_of_all_workers_add_up<E: Engine>() {
    let engine = E::start().await;
    let (store, other) = (engine.connect().await, engine.connect().await);
    let count = |name: &str, calls, failures| Count { name: name.to_owned(), calls, failures };
    let names = ["b", "a", "none"].map(str::to_owned);
    assert_eq!(store.counted(&[]).await.unwrap(), []);
    store.count(&[]).await.unwrap();
    store.count(&[count("a", 3, 1), count("b", 1, 0)]).await.unwrap();
    other.count(&[count("a", 4, 4)]).await.unwrap();
    let expected = [count("b", 1, 0), count("a", 7, 5), count("none", 0, 0)];
    assert_eq!(store.counted(&names).await.unwrap(), expected);
}
