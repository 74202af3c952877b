//! `-L`: what another server exports.

use holstein_nbd::numbers::transmission;
use holstein_nbd::{Address, ExportFacts, Framing, ListedExport, Security, list};
use holstein_tls::TlsClient;

use super::command_line::Place;
use super::{Failure, Outcome};
use crate::node::nbd_error;
use crate::out::{self, say};
use crate::text::Json;

/// Names of flags, in the order of their bits.
const FLAGS: [(u16, &str); 12] = [
    (transmission::READ_ONLY, "readonly"),
    (transmission::SEND_FLUSH, "flush"),
    (transmission::SEND_FUA, "fua"),
    (transmission::ROTATIONAL, "rotational"),
    (transmission::SEND_TRIM, "trim"),
    (transmission::SEND_WRITE_ZEROES, "zeroes"),
    (transmission::SEND_DF, "df"),
    (transmission::CAN_MULTI_CONN, "multi"),
    (transmission::SEND_RESIZE, "resize"),
    (transmission::SEND_CACHE, "cache"),
    (transmission::SEND_FAST_ZERO, "fast-zero"),
    (transmission::BLOCK_STATUS_PAYLOAD, "block-status-payload"),
];

/// Prints the exports of the server at a place.
///
/// # Errors
/// It cannot be reached, or does not say.
pub(super) fn run(place: &Place, tls: Option<&TlsClient>) -> Outcome<()> {
    let address = match place {
        Place::Path(path) => Address::Unix(path.into()),
        Place::Port(host, port) => {
            let unresolved = |_| {
                Failure::message(format!(
                    "address resolution failed for {host}:{port}: Servname not supported for \
                     ai_socktype"
                ))
            };
            Address::Tcp { host: host.clone(), port: port.parse().map_err(unresolved)? }
        }
        Place::Inherited => {
            return Err(Failure::message("List mode is incompatible with socket activation"));
        }
    };
    let security = tls.map(|tls| tls as &dyn Security);
    let exports = list(&address, security).map_err(|error| nbd_error(&error))?;
    if out::is_json() {
        let exports: Vec<Json> = exports.iter().map(to_json).collect();
        let object = Json::map([("command", "nbd".into()), ("exports", exports.into())]);
        say!("{}\n", object.pretty());
        return Ok(());
    }
    say!("exports available: {}\n", exports.len());
    for export in exports {
        say!(" export: '{}'\n", export.name);
        if let Some(facts) = &export.facts {
            print_facts(facts);
        }
        if !export.contexts.is_empty() {
            say!("  available meta contexts: {}\n", export.contexts.len());
        }
        for context in &export.contexts {
            say!("   {context}\n");
        }
    }
    Ok(())
}

/// Names of the flags that an export has.
fn flag_names(facts: &ExportFacts) -> impl Iterator<Item = &'static str> + '_ {
    FLAGS.iter().filter(|(flag, _)| facts.flags & flag != 0).map(|(_, name)| *name)
}

fn transaction_bits(facts: &ExportFacts) -> u8 {
    if facts.framing == Framing::Extended { 64 } else { 32 }
}

fn to_json(export: &ListedExport) -> Json {
    let mut object = Json::map([("name", export.name.as_str().into())]);
    if let Some(facts) = &export.facts {
        if let Some(description) = &facts.description {
            object.push("description", description.as_str());
        }
        object.push("size", facts.size);
        object.push("flags", flag_names(facts).map(Json::from).collect::<Vec<_>>());
        object.push("min-block", facts.minimum);
        object.push("opt-block", facts.preferred);
        object.push("max-block", facts.maximum);
        object.push("transaction-bits", transaction_bits(facts));
    }
    let contexts = export.contexts.iter().map(|context| Json::from(context.to_string()));
    object.push("contexts", contexts.collect::<Vec<_>>());
    object
}

fn print_facts(facts: &ExportFacts) {
    if let Some(description) = &facts.description {
        say!("  description: {description}\n");
    }
    let names: String = flag_names(facts).map(|name| format!(" {name}")).collect();
    say!("  size:  {}\n  flags: 0x{:x} ({names} )\n", facts.size, facts.flags);
    say!("  min block: {}\n  opt block: {}\n", facts.minimum, facts.preferred);
    say!("  max block: {}\n", facts.maximum);
    say!("  transaction size: {}-bit\n", transaction_bits(facts));
}
