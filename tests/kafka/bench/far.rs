//! A line with a long round trip: a proxy that holds back what goes through it, in both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Forwards connections to `target`, each byte `delay` later, for as long as the process lives.
pub fn delay(listener: TcpListener, target: String, delay: Duration) {
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&target) else {
                continue;
            };
            // A side that hangs up ends both directions; there is nobody to tell.
            let _ended = both_ways(near, far, delay);
        }
    });
}

fn both_ways(near: TcpStream, far: TcpStream, delay: Duration) -> Result<()> {
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    one_way(near.try_clone()?, far.try_clone()?, delay);
    one_way(far, near, delay);
    Ok(())
}

fn one_way(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0
                || sender
                    .send((Instant::now(), buffer[..count].to_vec()))
                    .is_err()
            {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (came, bytes) in receiver {
            std::thread::sleep((came + delay).saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _gone = to.shutdown(Shutdown::Both);
    });
}
