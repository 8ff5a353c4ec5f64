// SPDX-License-Identifier: Apache-2.0
// With zbus.
use std::collections::HashMap;
use std::env;
use std::fs::File;

use zbus::blocking::{connection, Connection, MessageIterator};
use zbus::zvariant::{Fd, OwnedObjectPath, OwnedValue, Value};
use zbus::{proxy, MatchRule};

type Options<'a> = HashMap<&'a str, Value<'a>>;

#[proxy(interface = "org.imaged1.Manager", default_service = "org.imaged1", default_path = "/org/imaged1", gen_async = false)]
trait Manager {
    fn pull(&self, image: &str, options: Options<'_>) -> zbus::Result<(u32, OwnedObjectPath)>;
    fn import_archive(&self, archive: Fd<'_>, image: &str, options: Options<'_>) -> zbus::Result<(u32, OwnedObjectPath)>;
    fn list_images(&self, options: Options<'_>) -> zbus::Result<Vec<HashMap<String, OwnedValue>>>;
}

#[proxy(interface = "org.imaged1.Job", default_service = "org.imaged1", gen_async = false)]
trait Job {
    #[zbus(property(emits_changed_signal = "false"))]
    fn state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn result(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn error_name(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn fraction(&self) -> zbus::Result<f64>;
}

type Changed = (String, HashMap<String, OwnedValue>, Vec<String>);

fn follow(bus: &Connection, what: &str, started: zbus::Result<(u32, OwnedObjectPath)>) -> zbus::Result<()> {
    let path = match started {
        Ok((_, path)) => path,
        Err(zbus::Error::MethodError(name, ..)) => {
            println!("{what}: {name}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).path(path.as_str())?.build();
    let mut signals = MessageIterator::for_match_rule(rule, bus, Some(1000))?;
    let job = JobProxy::builder(bus).path(path)?.build()?;
    let mut progress = job.fraction()? > 0.0;
    while job.state()? != "finished" {
        let Some(message) = signals.next() else { break };
        let message = message?;
        let header = message.header();
        match header.member().map(|member| member.as_str()) {
            Some("Finished") => break,
            Some("PropertiesChanged") => {
                let (_, changed, _): Changed = message.body().deserialize()?;
                if let Some(fraction) = changed.get("Fraction") {
                    progress |= f64::try_from(fraction)? > 0.0;
                }
            }
            _ => {}
        }
    }
    println!("{what}: {} {}{}", job.result()?, job.error_name()?, if progress { "progress" } else { "" });
    Ok(())
}

fn main() -> zbus::Result<()> {
    let words: Vec<String> = env::args().collect();
    let (address, image, archive, authfile) = (&words[1], &words[2], &words[3], &words[4]);
    let bus = connection::Builder::address(address.as_str())?.build()?;
    let manager = ManagerProxy::new(&bus)?;
    follow(&bus, "pull", manager.pull(image, Options::new()))?;
    follow(&bus, "error", manager.pull("oci:/nonexistent:x", Options::new()))?;
    let credentials = File::open(authfile).expect("authfile");
    follow(&bus, "authfile", manager.pull(image, Options::from([("authfile", Value::from(Fd::from(&credentials)))])))?;
    let file = File::open(archive).expect("archive");
    follow(&bus, "archive", manager.import_archive(Fd::from(&file), "docker://example.org/archive:1", Options::new()))?;
    println!("list: {}", manager.list_images(Options::new())?.len());
    Ok(())
}
