//! Tasks that reach beyond themselves; what each does is said in `wit/reach.wit`.

use wasip2::http::{
    outgoing_handler,
    types::{Fields, Method, OutgoingRequest, Scheme},
};

use host::tasks::workflow;
use wasi::{
    config::store as config,
    keyvalue::{atomics, batch, store},
};

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "tests:guests/reach", generate_all });

struct Reach;

export!(Reach);

impl Guest for Reach {
    fn fetch(
        method: String,
        uri: String,
        headers: Option<Vec<(String, String)>>,
    ) -> Result<(u16, String), String> {
        let (scheme, rest) = uri.split_once("://").ok_or("no scheme")?;
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.to_owned()),
        };
        let (authority, path) = rest.split_once(' ').unwrap_or((rest, "/"));
        let fields = Fields::new();
        for (name, value) in headers.unwrap_or_default() {
            fields.append(&name, value.as_bytes()).map_err(|error| format!("{error:?}"))?;
        }
        let method = match method.as_str() {
            "GET" => Method::Get,
            "CONNECT" => Method::Connect,
            other => Method::Other(other.to_owned()),
        };
        let request = OutgoingRequest::new(fields);
        request.set_method(&method).map_err(|()| "bad method")?;
        request.set_scheme(Some(&scheme)).map_err(|()| "bad scheme")?;
        request.set_authority(Some(authority)).map_err(|()| "bad authority")?;
        request.set_path_with_query(Some(path)).map_err(|()| "bad path")?;

        let answer = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
        answer.subscribe().block();
        let response = answer.get().ok_or("not ready")?.map_err(|()| "taken")?;
        let response = response.map_err(|error| format!("{error:?}"))?;
        let body = response.consume().map_err(|()| "no body")?;
        let stream = body.stream().map_err(|()| "no stream")?;
        let mut bytes = Vec::new();
        while let Ok(more) = stream.blocking_read(64 << 10) {
            bytes.extend(more);
        }
        Ok((response.status(), String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn keep(bucket: String, key: String, bytes: u32) -> Result<(), String> {
        open(&bucket)?.set(&key, &vec![b'x'; bytes as usize]).map_err(said)
    }

    fn keep_many(bucket: String) -> Result<(Vec<u32>, bool, Vec<String>, u64, Vec<String>), String> {
        let bucket = open(&bucket)?;
        let entries = ["a", "b", "c"].map(|key| (key.to_owned(), key.repeat(3).into_bytes()));
        batch::set_many(&bucket, &entries).map_err(said)?;
        bucket.delete("b").map_err(said)?;
        let names = ["a", "b", "c"].map(str::to_owned);
        let found = batch::get_many(&bucket, &names).map_err(said)?;
        let lengths = found.into_iter().flatten().map(|(_, value)| value.len() as u32).collect();
        let there = bucket.exists("a").map_err(said)?;
        let keys = bucket.list_keys(None).map_err(said)?;
        if keys.cursor.is_some() {
            return Err("there are no more".to_owned());
        }
        let mut sum = 0;
        for _ in 0..2 {
            sum = atomics::increment(&bucket, "n", 21).map_err(said)?;
        }
        batch::delete_many(&bucket, &["a", "c", "n"].map(str::to_owned)).map_err(said)?;
        let left = bucket.list_keys(None).map_err(said)?;
        Ok((lengths, there, keys.keys, sum, left.keys))
    }

    fn count(bucket: String, key: String, delta: u64) -> Result<u64, String> {
        atomics::increment(&open(&bucket)?, &key, delta).map_err(said)
    }

    fn configured(name: String) -> Result<Option<String>, String> {
        config::get(&name).map_err(|error| format!("{error:?}"))
    }

    fn all_configured() -> Vec<String> {
        config::get_all().unwrap_or_default().into_iter().map(|(name, _)| name).collect()
    }

    fn tell(name: String, fails: bool) -> Result<String, String> {
        let value = config::get(&name).ok().flatten().unwrap_or_default();
        eprintln!("it is {value}");
        if fails { Err(format!("not {value}")) } else { Ok(value) }
    }

    fn send(signature: String) -> Result<String, String> {
        workflow::send(&signature)
    }
}

fn open(bucket: &str) -> Result<store::Bucket, String> {
    store::open(bucket).map_err(said)
}

fn said(error: store::Error) -> String {
    format!("{error:?}")
}
