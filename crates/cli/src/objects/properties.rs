//! The properties of an object, from `TYPE,key=value...` or from JSON.

use crate::disk::DiskError;
use crate::text::{Json, parse_json, parse_list};

/// The value of a property.
enum Value {
    /// Text, or a value of a list of options, which is text whatever it means.
    Text(String),
    /// A truth value of JSON.
    Flag(bool),
}

/// Properties that nobody took yet.
pub(super) struct Properties {
    entries: Vec<(String, Value)>,
    json: bool,
}

/// What the text of an object comes to.
pub(super) enum Given {
    /// The object.
    Properties(Properties),
    /// A wish to know the properties of a type, or without it the types.
    Help(Option<String>),
}

impl Given {
    /// Reads an `--object` argument.
    ///
    /// # Errors
    /// It is neither a list nor JSON.
    pub(super) fn parse(argument: &str) -> Result<Self, DiskError> {
        if argument.starts_with('{') {
            from_json(argument).map(Self::Properties)
        } else {
            from_list(argument)
        }
    }
}

impl Properties {
    fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.entries.iter().position(|(known, _)| known == key)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes a property that is text.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, DiskError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Flag(_)) => Err(wrong_type(key, "string")),
        }
    }

    /// Takes a property that has to be there.
    ///
    /// # Errors
    /// It is missing, or something else than text.
    pub(super) fn needed(&mut self, key: &str) -> Result<String, DiskError> {
        let missing = || DiskError::invalid(format!("Parameter '{key}' is missing"));
        self.text(key)?.ok_or_else(missing)
    }

    /// Takes a property that is on or off.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, DiskError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(flag)),
            Some(Value::Text(_)) if self.json => Err(wrong_type(key, "boolean")),
            Some(Value::Text(text)) => match text.as_str() {
                "on" | "yes" | "true" | "y" => Ok(Some(true)),
                "off" | "no" | "false" | "n" => Ok(Some(false)),
                _ => Err(DiskError::invalid(format!("Parameter '{key}' expects 'on' or 'off'"))),
            },
        }
    }

    /// Whether there is a property whose name begins so.
    pub(super) fn has_below(&self, prefix: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.starts_with(prefix))
    }

    /// All properties were taken.
    ///
    /// # Errors
    /// One was not.
    pub(super) fn end(&self) -> Result<(), DiskError> {
        match self.entries.first() {
            None => Ok(()),
            Some((unknown, _)) => {
                Err(DiskError::invalid(format!("Parameter '{unknown}' is unexpected")))
            }
        }
    }
}

/// A value that a property cannot have.
pub(super) fn bad_value(key: &str, value: &str) -> DiskError {
    DiskError::invalid(format!("Parameter '{key}' does not accept value '{value}'"))
}

fn wrong_type(key: &str, expected: &str) -> DiskError {
    DiskError::invalid(format!("Invalid parameter type for '{key}', expected: {expected}"))
}

/// Properties of `TYPE,key=value...`; the first entry without a key is the type.
fn from_list(argument: &str) -> Result<Given, DiskError> {
    let mut entries: Vec<(String, Value)> = Vec::new();
    for (index, pair) in parse_list(argument).into_iter().enumerate() {
        let (key, value) = match pair.value {
            Some(value) => (pair.key, value),
            None if index == 0 && matches!(pair.key.as_str(), "help" | "?") => {
                return Ok(Given::Help(None));
            }
            None if index == 0 && !pair.key.is_empty() => ("qom-type".to_owned(), pair.key),
            None if matches!(pair.key.as_str(), "help" | "?") => {
                let kind = match entries.into_iter().next() {
                    Some((_, Value::Text(kind))) => Some(kind),
                    _ => None,
                };
                return Ok(Given::Help(kind));
            }
            None => {
                return Err(DiskError::invalid(if pair.key.is_empty() {
                    "Invalid parameter ''".to_owned()
                } else {
                    format!("Expected '=' after parameter '{}'", pair.key)
                }));
            }
        };
        entries.retain(|(known, _)| *known != key);
        entries.push((key, Value::Text(value)));
    }
    Ok(Given::Properties(Properties { entries, json: false }))
}

/// Properties of a JSON object, whose values are text, or lists of objects as rules are.
fn from_json(argument: &str) -> Result<Properties, DiskError> {
    let Json::Map(map) = parse_json(argument).map_err(DiskError::invalid)? else {
        return Err(DiskError::invalid("Invalid JSON object given"));
    };
    let mut entries = Vec::new();
    for (key, value) in map {
        match value {
            Json::Str(text) => entries.push((key, Value::Text(text))),
            Json::Bool(flag) => entries.push((key, Value::Flag(flag))),
            Json::List(list) => {
                for (at, item) in list.into_iter().enumerate() {
                    let Json::Map(item) = item else {
                        return Err(wrong_type(&format!("{key}[{at}]"), "object"));
                    };
                    for (part, value) in item {
                        let name = format!("{key}.{at}.{part}");
                        let Json::Str(text) = value else {
                            return Err(wrong_type(&name, "string"));
                        };
                        entries.push((name, Value::Text(text)));
                    }
                }
            }
            _ => return Err(wrong_type(&key, "string")),
        }
    }
    Ok(Properties { entries, json: true })
}
