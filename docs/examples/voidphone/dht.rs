// dht HOST PORT put KEY VALUE | dht HOST PORT get KEY      rustc -O dht.rs
use std::io::{stdout, Read, Result, Write};
use std::{env, net::TcpStream, process::exit, time::Duration};

fn stop(code: i32, why: &str) -> ! {
    eprintln!("{why}");
    exit(code)
}

fn ask(address: (&str, u16), request: &[u8]) -> Result<(u16, Vec<u8>)> {
    let mut node = TcpStream::connect(address)?;
    node.set_read_timeout(Some(Duration::from_secs(15)))?;
    node.write_all(request)?;
    let mut head = [0; 4];
    node.read_exact(&mut head)?;
    let (size, kind) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
    let mut body = vec![0; usize::from(size.max(36)) - 4];
    node.read_exact(&mut body).map(|()| (kind, body))
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let (kind, ttl, key, value): (u16, u16, _, _) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, _, "put", key, value] if (1..=65495).contains(&value.len()) => (650, 3600, key, value),
        [_, _, "get", key] => (651, 0, key, ""),
        _ => stop(2, "HOST PORT put KEY VALUE | get KEY; a value has 1 to 65495 bytes"),
    };
    let mut padded = key.as_bytes().to_vec();
    if key.len() > 32 { stop(2, "a key has up to 32 bytes") }
    padded.resize(32, 0);
    let options = if kind == 650 { vec![(ttl >> 8) as u8, ttl as u8, 0, 0] } else { vec![] }; // replication 0
    let size = (4 + options.len() + 32 + value.len()) as u16;
    let head = [size.to_be_bytes(), kind.to_be_bytes()].concat();
    let request = [head, options, padded, value.as_bytes().to_vec()].concat();
    match ask((&args[0], args[1].parse().unwrap_or(0)), &request) {
        Ok((652, body)) => if kind == 651 { stdout().write_all(&body[32..]).expect("stdout is closed") },
        Ok((653, _)) => stop(1, "not stored, or not found"),
        other => stop(1, &format!("no answer: {:?}", other.err())),
    }
}
