//! Which encryption a new image is to have.

use std::time::Duration;

use holstein::Secret;
use holstein::luks::{CipherMode, CipherSpec, Format, Hash, Vector};

use super::create_list::CreateList;
use super::make_qcow2::not_accepted;
use crate::disk::{DiskError, luks_error};
use crate::objects::Objects;

/// An encryption with all that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// The first one of qcow2.
    Aes(Secret),
    /// LUKS.
    Luks(Format, Secret),
}

/// Options that only LUKS has.
const FOR_LUKS: [&str; 6] = [
    "encrypt.cipher-alg",
    "encrypt.cipher-mode",
    "encrypt.ivgen-alg",
    "encrypt.ivgen-hash-alg",
    "encrypt.hash-alg",
    "encrypt.iter-time",
];

impl Encryption {
    /// That of a qcow2 image, if it is to be encrypted.
    ///
    /// # Errors
    /// An option is wrong or does not go with the others; the secret is missing.
    pub(super) fn of_qcow2(
        list: &CreateList,
        objects: &Objects,
    ) -> Result<Option<Self>, DiskError> {
        let given = |name: &str| list.given(name).is_some();
        let format = match (list.given("encrypt.format"), list.is_on("encryption")) {
            (Some(_), true) => {
                return Err(DiskError::invalid(
                    "'encrypt.format' and its alias 'encryption' can't be used at the same time",
                ));
            }
            (Some(format), false) => format,
            (None, true) => "aes",
            (None, false) if given("encrypt.key-secret") || FOR_LUKS.into_iter().any(given) => {
                return Err(DiskError::invalid("Parameter 'encrypt.format' is missing"));
            }
            (None, false) => return Ok(None),
        };
        match format {
            "aes" => {
                if let Some(name) = FOR_LUKS.into_iter().find(|name| given(name)) {
                    return Err(DiskError::invalid(format!("Parameter '{name}' is unexpected")));
                }
                Ok(Some(Self::Aes(passphrase(list, "encrypt.", objects)?)))
            }
            "luks" => {
                let (format, passphrase) = judged(list, "encrypt.", objects)?;
                Ok(Some(Self::Luks(format, passphrase)))
            }
            _ => Err(not_accepted("format", format)),
        }
    }

    /// Bytes that it takes in the image besides the payload.
    pub(super) fn area_bytes(&self) -> u64 {
        match self {
            Self::Aes(_) => 0,
            Self::Luks(format, _) => format.area_bytes().unwrap_or(0),
        }
    }
}

/// What a LUKS volume is to be.
///
/// # Errors
/// An option is wrong or does not go with the others; the secret is missing.
pub(super) fn luks_volume(
    list: &CreateList,
    objects: &Objects,
) -> Result<(Format, Secret), DiskError> {
    if list.is_on("detached-header") {
        return Err(DiskError::unsupported("detached-header is not available in this version"));
    }
    judged(list, "", objects)
}

/// The format that options ask for whose names begin with `prefix`, and its passphrase.
fn judged(
    list: &CreateList,
    prefix: &str,
    objects: &Objects,
) -> Result<(Format, Secret), DiskError> {
    let format = luks_format(list, prefix)?;
    let passphrase = passphrase(list, prefix, objects)?;
    // Whether the parts go together.
    format.area_bytes().map_err(|error| luks_error(&error))?;
    Ok((format, passphrase))
}

fn passphrase(list: &CreateList, prefix: &str, objects: &Objects) -> Result<Secret, DiskError> {
    let option = format!("{prefix}key-secret");
    objects.passphrase(&option, list.given(&option))
}

/// What a LUKS header is to say.
fn luks_format(list: &CreateList, prefix: &str) -> Result<Format, DiskError> {
    let value = |name: &str| list.given(&format!("{prefix}{name}"));
    let mut format = Format::default();
    if let Some(name) = value("cipher-alg") {
        format.cipher.key = key_bytes(name)?;
    }
    if let Some(name) = value("cipher-mode") {
        format.cipher.mode = match name {
            "xts" => CipherMode::Xts,
            "cbc" => CipherMode::Cbc,
            "ecb" | "ctr" => {
                return Err(DiskError::unsupported(format!("Unsupported cipher mode {name}")));
            }
            _ => return Err(not_accepted("cipher-mode", name)),
        };
    }
    let ivgen = value("ivgen-alg").unwrap_or("plain64");
    if !matches!(ivgen, "plain" | "plain64" | "essiv") {
        return Err(not_accepted("ivgen-alg", ivgen));
    }
    let ivgen_hash =
        value("ivgen-hash-alg").map(|name| hash("ivgen-hash-alg", name)).transpose()?;
    if ivgen_hash.is_some() && ivgen != "essiv" {
        return Err(DiskError::unsupported(format!(
            "{prefix}ivgen-hash-alg has no meaning for {prefix}ivgen-alg={ivgen}"
        )));
    }
    format.cipher.vector = match ivgen {
        "plain" => Vector::Plain,
        "plain64" => Vector::Plain64,
        _ => Vector::Essiv(ivgen_hash.unwrap_or(Hash::Sha256)),
    };
    if let Some(name) = value("hash-alg") {
        format.hash = hash("hash-alg", name)?;
    }
    if let Some(millis) = list.number(&format!("{prefix}iter-time")) {
        format.iter_time = Duration::from_millis(millis);
    }
    Ok(format)
}

/// Bytes of the key of a cipher.
fn key_bytes(name: &str) -> Result<usize, DiskError> {
    match name {
        "aes-128" => Ok(16),
        "aes-192" => Ok(24),
        "aes-256" => Ok(CipherSpec::default().key),
        "des" | "3des" | "cast5-128" | "serpent-128" | "serpent-192" | "serpent-256"
        | "twofish-128" | "twofish-192" | "twofish-256" | "sm4" => {
            Err(DiskError::unsupported(format!("Algorithm '{name}' not supported")))
        }
        _ => Err(not_accepted("cipher-alg", name)),
    }
}

fn hash(parameter: &str, name: &str) -> Result<Hash, DiskError> {
    match (Hash::named(name), name) {
        (Some(hash), _) => Ok(hash),
        (None, "md5" | "sm3") => {
            Err(DiskError::unsupported(format!("Hash algorithm '{name}' not supported")))
        }
        (None, _) => Err(not_accepted(parameter, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::create_list::CreateFormat;
    use super::*;

    fn of(list: &str) -> Result<Option<Encryption>, String> {
        let mut objects = Objects::default();
        objects.add("secret,id=s,data=abc").expect("well formed");
        let list = format!("encrypt.key-secret=s,encrypt.format=luks,{list}");
        let list = CreateList::parse(CreateFormat::Qcow2, &list).expect("well formed");
        Encryption::of_qcow2(&list, &objects).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_missing_is_named() {
        for (list, text) in [
            ("encrypt.cipher-alg=serpent-256", "Algorithm 'serpent-256' not supported"),
            ("encrypt.cipher-mode=ctr", "Unsupported cipher mode ctr"),
            ("encrypt.hash-alg=md5", "Hash algorithm 'md5' not supported"),
            (
                "encrypt.ivgen-hash-alg=sha1",
                "encrypt.ivgen-hash-alg has no meaning for encrypt.ivgen-alg=plain64",
            ),
        ] {
            assert_eq!(of(list), Err(text.to_owned()), "{list}");
        }
        let list = CreateList::parse(CreateFormat::Luks, "detached-header=on").expect("known");
        let error = luks_volume(&list, &Objects::default()).expect_err("it is refused");
        assert_eq!(error.to_string(), "detached-header is not available in this version");
    }

    #[test]
    fn options_become_a_format() {
        let found =
            of("encrypt.cipher-alg=aes-192,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,\
                        encrypt.hash-alg=sha1,encrypt.iter-time=7");
        let Ok(Some(Encryption::Luks(format, _))) = found else { panic!("{found:?}") };
        let vector = Vector::Essiv(Hash::Sha256);
        let cipher = CipherSpec { key: 24, mode: CipherMode::Cbc, vector };
        let expected = Format { cipher, hash: Hash::Sha1, iter_time: Duration::from_millis(7) };
        assert_eq!(format, expected);
        let Ok(Some(Encryption::Luks(format, _))) = of("size=1") else { panic!("defaults") };
        assert_eq!(format, Format::default());
    }
}
