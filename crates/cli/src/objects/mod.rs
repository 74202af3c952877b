//! Objects given by `--object`: secrets, TLS credentials, and rules about who may come in.

mod authorization;
mod credentials;
mod properties;
mod secret;

use holstein::Secret;
use holstein_tls::{ClientCredentials, ServerCredentials};

use crate::disk::DiskError;
use properties::{Given, Properties, bad_value};

pub(crate) use authorization::Authorization;
use credentials::Credentials;
pub(crate) use credentials::client_credentials;

/// Objects by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    objects: Vec<(String, Object)>,
}

/// An object.
#[derive(Clone, Debug)]
enum Object {
    Secret(Secret),
    Credentials(Credentials),
    Authorization(Authorization),
}

/// What an object is to be, before it is made.
enum Description {
    Secret(secret::Description),
    Credentials(credentials::Description),
    Authorization(Authorization),
}

/// What reading an `--object` argument comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The object was added.
    Added,
    /// Help was asked for; the text goes to standard output and the program ends well.
    Help(String),
}

const TYPES_HELP: &str = "List of user creatable objects:\n  authz-list\n  authz-simple\n  secret\n  \
                          tls-creds-psk\n  tls-creds-x509\n";

/// The properties of each type.
const HELP: [(&str, &str); 5] = [
    ("authz-list", "  policy=<QAuthZListPolicy>\n  rules=<QAuthZListRule>\n"),
    ("authz-simple", "  identity=<string>\n"),
    (
        "secret",
        "  data=<string>\n  file=<string>\n  format=<QCryptoSecretFormat>\n  iv=<string>\n  \
         keyid=<string>\n",
    ),
    (
        "tls-creds-psk",
        "  dir=<string>\n  endpoint=<QCryptoTLSCredsEndpoint>\n  priority=<string>\n  \
         username=<string>\n  verify-peer=<bool>\n",
    ),
    (
        "tls-creds-x509",
        "  dir=<string>\n  endpoint=<QCryptoTLSCredsEndpoint>\n  passwordid=<string>\n  \
         priority=<string>\n  sanity-check=<bool>\n  verify-peer=<bool>\n",
    ),
];

/// Types that are known and not here.
const MISSING: [&str; 3] = ["secret_keyring", "tls-creds-anon", "throttle-group"];

impl Objects {
    /// Reads every `--object` argument of a command line.
    ///
    /// # Errors
    /// As for [`Objects::add`].
    pub(crate) fn parse(arguments: &[String]) -> Result<(Self, Outcome), DiskError> {
        let mut objects = Self::default();
        for argument in arguments {
            if let help @ Outcome::Help(_) = objects.add(argument)? {
                return Ok((objects, help));
            }
        }
        Ok((objects, Outcome::Added))
    }

    /// Adds the object of one argument: `TYPE,id=ID,key=value...` or a JSON object.
    ///
    /// # Errors
    /// Says which parameter is missing, unknown or wrong, or which file cannot be read.
    pub(crate) fn add(&mut self, argument: &str) -> Result<Outcome, DiskError> {
        let mut properties = match Given::parse(argument)? {
            Given::Properties(properties) => properties,
            Given::Help(kind) => return Ok(Outcome::Help(help(kind.as_deref()))),
        };
        let kind = properties.needed("qom-type")?;
        let id = properties.needed("id")?;
        let described = Description::take(&kind, &mut properties)?;
        if !is_identifier(&id) {
            let error = DiskError::invalid("Parameter 'id' expects an identifier");
            return Err(error.with_hint(
                "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
            ));
        }
        if self.find(&id).is_some() {
            return Err(DiskError::invalid(format!(
                "attempt to add duplicate property '{id}' to object (type 'container')"
            )));
        }
        let object = match described {
            Description::Secret(described) => Object::Secret(described.read(self)?),
            Description::Credentials(described) => Object::Credentials(described.load(self)?),
            Description::Authorization(rules) => Object::Authorization(rules),
        };
        credentials::publish(&id, object.credentials());
        self.objects.push((id, object));
        Ok(Outcome::Added)
    }

    fn find(&self, id: &str) -> Option<&Object> {
        self.objects.iter().find(|(known, _)| known == id).map(|(_, object)| object)
    }

    /// The secret of that name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn secret(&self, id: &str) -> Result<&Secret, DiskError> {
        match self.find(id) {
            Some(Object::Secret(secret)) => Ok(secret),
            Some(_) => Err(DiskError::invalid(format!("Object with id '{id}' is not a secret"))),
            None => Err(DiskError::invalid(format!("No secret with id '{id}'"))),
        }
    }

    /// The credentials of that name, for a server.
    ///
    /// # Errors
    /// There are none, or they are not for a server.
    pub(crate) fn server_credentials(&self, id: &str) -> Result<ServerCredentials, DiskError> {
        credentials::for_server(id, self.find(id).map(Object::credentials))
    }

    /// The credentials of that name, for a client.
    ///
    /// # Errors
    /// There are none, or they are not for a client.
    pub(crate) fn client_credentials(&self, id: &str) -> Result<ClientCredentials, DiskError> {
        credentials::for_client(id, self.find(id).map(Object::credentials))
    }

    /// The rules of that name about who may come in.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn authorization(&self, id: &str) -> Result<&Authorization, DiskError> {
        match self.find(id) {
            Some(Object::Authorization(rules)) => Ok(rules),
            Some(_) => Err(DiskError::invalid(format!("Object '{id}' is not a QAuthZ subclass"))),
            None => Err(DiskError::invalid(format!("Cannot find QAuthZ object ID {id}"))),
        }
    }

    /// The secret of that name, which is the value of `option`, as the passphrase of an image.
    ///
    /// # Errors
    /// No secret was named, there is none of that name, or it is no text.
    pub(crate) fn passphrase(&self, option: &str, id: Option<&str>) -> Result<Secret, DiskError> {
        let id = id.ok_or_else(|| {
            DiskError::invalid(format!("Parameter '{option}' is required for cipher"))
        })?;
        let secret = self.secret(id)?;
        match std::str::from_utf8(secret.bytes()) {
            Ok(text) if !text.contains('\0') => Ok(secret.clone()),
            _ => Err(DiskError::invalid(format!("Data from secret {id} is not valid UTF-8"))),
        }
    }
}

impl Object {
    /// Its credentials, if it is any.
    fn credentials(&self) -> Option<&Credentials> {
        match self {
            Self::Credentials(credentials) => Some(credentials),
            Self::Secret(_) | Self::Authorization(_) => None,
        }
    }
}

impl Description {
    /// Takes the properties of an object of a type.
    ///
    /// # Errors
    /// The type is not known or not here, or a property is missing, unknown or wrong.
    fn take(kind: &str, properties: &mut Properties) -> Result<Self, DiskError> {
        match kind {
            "secret" => secret::Description::take(properties).map(Self::Secret),
            "tls-creds-psk" => {
                credentials::Description::take_keyed(properties).map(Self::Credentials)
            }
            "tls-creds-x509" => credentials::Description::take(properties).map(Self::Credentials),
            "authz-simple" => Authorization::take_simple(properties).map(Self::Authorization),
            "authz-list" => Authorization::take_list(properties).map(Self::Authorization),
            kind if MISSING.contains(&kind) => Err(DiskError::unsupported(format!(
                "object type '{kind}' is not available in this version"
            ))),
            _ => Err(bad_value("qom-type", kind)),
        }
    }
}

/// The properties of a type, or without a type that is known the types.
fn help(kind: Option<&str>) -> String {
    let known = HELP.iter().find(|(known, _)| Some(*known) == kind);
    known.map_or_else(
        || TYPES_HELP.to_owned(),
        |(kind, properties)| format!("{kind} options:\n{properties}"),
    )
}

/// Letters, digits, `-`, `.` and `_`, with a letter first.
fn is_identifier(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(argument: &str) -> Result<Objects, String> {
        let mut objects = Objects::default();
        objects.add(argument).map_err(|error| error.to_string())?;
        Ok(objects)
    }

    #[test]
    fn a_secret_is_kept_in_both_forms() {
        for argument in
            ["secret,id=s0,data=a,,b", r#"{"qom-type": "secret", "id": "s0", "data": "a,b"}"#]
        {
            let objects = add(argument).expect("the secret is well formed");
            assert_eq!(objects.secret("s0").expect("it was added").bytes(), b"a,b");
        }
    }

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in
            [("aHVudGVyMg==", "hunter2"), ("YWI=", "ab"), ("YWJj", "abc"), ("YWJjZGU", "abc")]
        {
            let objects = add(&format!("secret,id=s,format=base64,data={text}"));
            let objects = objects.expect("the secret is well formed");
            let secret = objects.secret("s").expect("it was added");
            assert_eq!(secret.bytes(), bytes.as_bytes());
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let objects = add("secret,id=s0,data=hunter2").expect("the secret is well formed");
        assert!(!format!("{objects:?}").contains("hunter2"));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (argument, text) in [
            ("nosuch,id=s0", "Parameter 'qom-type' does not accept value 'nosuch'"),
            ("secret,id=s0", "Either 'file' or 'data' must be provided"),
            ("secret,id=s0,data=a,file=b", "'file' and 'data' are mutually exclusive"),
            ("secret,id=s0,data=a,foo=b", "Parameter 'foo' is unexpected"),
            ("secret,data=a", "Parameter 'id' is missing"),
            ("id=a", "Parameter 'qom-type' is missing"),
            ("secret,id=9,data=a", "Parameter 'id' expects an identifier"),
            ("secret,id=s,data=a,format=x", "Parameter 'format' does not accept value 'x'"),
            ("secret,id=s,data=!,format=base64", "Base64 data contains invalid characters"),
            ("secret,id=s,data=a,keyid=x", "No secret with id 'x'"),
        ] {
            assert_eq!(add(argument).err().as_deref(), Some(text), "{argument}");
        }
    }

    #[test]
    fn the_table_of_options_has_those_of_objects() {
        let mut known: std::collections::BTreeSet<String> =
            MISSING.iter().map(|kind| (*kind).to_owned()).collect();
        for (kind, properties) in HELP {
            let names = properties.split_whitespace().filter_map(|word| word.split('=').next());
            known.extend(names.map(|name| format!("{kind}.{name}")));
        }
        assert_eq!(crate::option_table::listed("Objects"), known);
    }

    #[test]
    fn types_that_are_missing_are_named_and_others_are_not_known() {
        for kind in MISSING {
            let text = format!("object type '{kind}' is not available in this version");
            assert_eq!(add(&format!("{kind},id=a")).err(), Some(text));
        }
        // QEMU lists this one and does not take it either.
        let text = "Parameter 'qom-type' does not accept value 'authz-list-file'".to_owned();
        assert_eq!(add("authz-list-file,id=a,filename=/x").err(), Some(text));
    }

    #[test]
    fn credentials_and_rules_are_refused_in_the_words_of_qemu() {
        for (argument, text) in [
            ("tls-creds-x509,id=t", "Missing 'dir' property value"),
            (
                "tls-creds-x509,id=t,dir=/x,endpoint=y",
                "Parameter 'endpoint' does not accept value 'y'",
            ),
            (
                "tls-creds-x509,id=t,dir=/x,verify-peer=y1",
                "Parameter 'verify-peer' expects 'on' or 'off'",
            ),
            ("tls-creds-x509,id=t,dir=/x,foo=1", "Parameter 'foo' is unexpected"),
            ("tls-creds-x509,id=t,dir=/x,passwordid=y", "No secret with id 'y'"),
            (
                "tls-creds-x509,id=t,dir=/nowhere/at/all",
                "Unable to access credentials /nowhere/at/all/ca-cert.pem: No such file or directory",
            ),
            (
                r#"{"qom-type":"tls-creds-x509","id":"t","dir":"/x","verify-peer":"on"}"#,
                "Invalid parameter type for 'verify-peer', expected: boolean",
            ),
            ("tls-creds-psk,id=t", "Missing 'dir' property value"),
            ("tls-creds-psk,id=t,dir=/x,passwordid=x", "Parameter 'passwordid' is unexpected"),
            (
                "tls-creds-psk,id=t,dir=/x,endpoint=server,username=x",
                "username should not be set when endpoint=server",
            ),
            (
                "tls-creds-psk,id=t,dir=/nowhere/at/all",
                "Unable to access credentials /nowhere/at/all/keys.psk: No such file or directory",
            ),
            (
                "tls-creds-psk,id=t,dir=/x,verify-peer=off",
                "verify-peer=off means nothing with shared keys: who has none is no peer",
            ),
            ("authz-simple,id=a", "Parameter 'identity' is missing"),
            ("authz-simple,id=a,identity=x,foo=1", "Parameter 'foo' is unexpected"),
            ("authz-list,id=a,policy=x", "Parameter 'policy' does not accept value 'x'"),
            ("authz-list,id=a,rules.0.match=x", "Parameter 'rules.0.policy' is missing"),
            ("authz-list,id=a,rules.0.policy=allow", "Parameter 'rules.0.match' is missing"),
            ("authz-list,id=a,rules.1.match=x,rules.1.policy=allow", "Parameter 'rules.0' missing"),
            (
                "authz-list,id=a,rules.0.match=x,rules.0.policy=allow,rules.0.format=foo",
                "Parameter 'format' does not accept value 'foo'",
            ),
            (
                "authz-list,id=a,rules.0.match=x,rules.0.policy=allow,rules.0.foo=1",
                "Parameter 'rules.0.foo' is unexpected",
            ),
        ] {
            assert_eq!(add(argument).err().as_deref(), Some(text), "{argument}");
        }
    }

    #[test]
    fn rules_are_the_same_in_both_forms() {
        let list = "authz-list,id=a,policy=allow,rules.0.match=CN=x,,C=y,rules.0.policy=deny";
        let json = r#"{"qom-type": "authz-list", "id": "a", "policy": "allow",
                       "rules": [{"match": "CN=x,C=y", "policy": "deny"}]}"#;
        for argument in [list, json] {
            let objects = add(argument).expect("the rules are well formed");
            let rules = objects.authorization("a").expect("it was added");
            assert!(rules.allows("CN=x") && !rules.allows("CN=x,C=y"), "{argument}");
        }
        let objects = add("secret,id=a,data=x").expect("the secret is well formed");
        let error = |id| objects.authorization(id).expect_err("it is none").to_string();
        assert_eq!(error("a"), "Object 'a' is not a QAuthZ subclass");
        assert_eq!(error("b"), "Cannot find QAuthZ object ID b");
        let error = |id| objects.server_credentials(id).expect_err("it is none").to_string();
        assert_eq!(error("a"), "Object with id 'a' is not TLS credentials");
        assert_eq!(error("b"), "No TLS credentials with id 'b'");
    }
}
