//! SASL: the mechanism, and the credentials from a login module or from keys of their own.

use std::ops::Range;

use super::{Found, Kind, Part, Spot, Table, oauth};
use crate::client::jaas::{self, Jaas, Word};
use crate::client::secret::{Origin, Secret, Text};
use crate::client::settings::{
    Credentials, Keyed, SaslSettings, ScramHash, SecurityProtocol, TokenSource,
};

pub(super) const JAAS: &str = "sasl.jaas.config";
const MECHANISMS: &[&str] = &["sasl.mechanism", "sasl.mechanisms"];
const SUPPORTED: &[&str] = &[
    "PLAIN",
    "SCRAM-SHA-256",
    "SCRAM-SHA-512",
    "OAUTHBEARER",
    "AWS_MSK_IAM",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram(ScramHash),
    OAuthBearer,
    MskIam,
}

/// The login modules that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    Plain,
    Scram,
    OAuthBearer,
    MskIam,
    Kerberos,
}

impl Module {
    /// By the end of its class name: libraries that carry Kafka's clients inside (`kafkashaded.…`)
    /// put a package before it.
    fn of(class: &str) -> Option<Self> {
        [
            (
                "org.apache.kafka.common.security.plain.PlainLoginModule",
                Self::Plain,
            ),
            (
                "org.apache.kafka.common.security.scram.ScramLoginModule",
                Self::Scram,
            ),
            (
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
                Self::OAuthBearer,
            ),
            ("software.amazon.msk.auth.iam.IAMLoginModule", Self::MskIam),
            (
                "com.sun.security.auth.module.Krb5LoginModule",
                Self::Kerberos,
            ),
            (
                "com.ibm.security.auth.module.Krb5LoginModule",
                Self::Kerberos,
            ),
        ]
        .into_iter()
        .find(|(name, _)| {
            class
                .strip_suffix(name)
                .is_some_and(|package| package.is_empty() || package.ends_with('.'))
        })
        .map(|(_, module)| module)
    }

    /// The mechanism that it is for, to be suggested.
    fn mechanism(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::MskIam => "AWS_MSK_IAM",
            Self::Kerberos => "GSSAPI",
        }
    }
}

/// A login module that was understood, and the entry it stands in.
pub(super) struct Login<'e> {
    pub(super) found: Found<'e>,
    pub(super) jaas: Jaas,
    pub(super) module: Module,
}

impl Login<'_> {
    pub(super) fn at(&self, word: &Word) -> Spot {
        self.found.spot(Part::Within(word.range.clone()))
    }

    /// An option as a secret. It can be read again only where the login module is its own file.
    pub(super) fn option(&self, name: &str) -> Option<Keyed<Text>> {
        let word = self.jaas.option(name)?;
        Some(self.found.keyed(Text {
            origin: match &self.found.text()?.origin {
                // The file holds the whole module, so reading it again would give that.
                Origin::Inline | Origin::File(_) => Origin::Inline,
                Origin::Env(name) => Origin::Env(name.clone()),
            },
            value: Secret::new(word.text.clone()),
        }))
    }
}

const KERBEROS_HELP: &str = "use SCRAM-SHA-512, PLAIN or OAUTHBEARER, or a client certificate with \
                             security.protocol=SSL; brokers can offer several mechanisms at once";

/// `protocol` is `None` when it is not known.
pub(super) fn read(
    table: &mut Table<'_>,
    protocol: Option<SecurityProtocol>,
) -> Option<Keyed<SaslSettings>> {
    let used = protocol.is_some_and(SecurityProtocol::has_sasl);
    let login = login(table);
    let mechanism_found = table.one_of(MECHANISMS);
    let mechanism = match mechanism_found {
        Some(found) => mechanism(table, found),
        None => {
            if used {
                report_no_mechanism(table, login.as_ref().ok());
            }
            None
        }
    }?;
    let found = mechanism_found?;
    // What is not used need not be complete; that it is not used is said elsewhere.
    if !used {
        return None;
    }
    let login = login.ok();
    if let Some(login) = &login {
        check_module(table, login, found, mechanism)?;
    }
    // A login module with mistakes is no reason to ask for one.
    let broken = login.is_none() && table.is_set(JAAS);
    let settings = match mechanism {
        Mechanism::Plain => SaslSettings::Plain(credentials(table, login.as_ref(), found, broken)?),
        Mechanism::Scram(hash) => SaslSettings::Scram {
            hash,
            token_auth: login.as_ref().is_some_and(|login| token_auth(table, login)),
            credentials: credentials(table, login.as_ref(), found, broken)?,
        },
        Mechanism::OAuthBearer => {
            SaslSettings::OAuthBearer(oauth::read(table, login.as_ref(), found, broken)?)
        }
        Mechanism::MskIam => {
            callback_handler(
                table,
                "sasl.client.callback.handler.class",
                &["IAMClientCallbackHandler"],
            );
            SaslSettings::OAuthBearer(msk_iam(table, login.as_ref()))
        }
    };
    Some(found.keyed(settings))
}

fn mechanism(table: &mut Table<'_>, found: Found<'_>) -> Option<Mechanism> {
    match found.str()?.trim() {
        "PLAIN" => Some(Mechanism::Plain),
        "SCRAM-SHA-256" => Some(Mechanism::Scram(ScramHash::Sha256)),
        "SCRAM-SHA-512" => Some(Mechanism::Scram(ScramHash::Sha512)),
        "OAUTHBEARER" => Some(Mechanism::OAuthBearer),
        "AWS_MSK_IAM" => Some(Mechanism::MskIam),
        "GSSAPI" => {
            table.report(
                Kind::Refused,
                found.value(),
                "Kerberos is not supported",
                "GSSAPI is Kerberos",
            );
            table.help(KERBEROS_HELP);
            None
        }
        other => {
            let written = other.to_uppercase().replace('_', "-");
            let written = if written == "AWS-MSK-IAM" {
                "AWS_MSK_IAM"
            } else {
                &written
            };
            table.bad_word(found, written, SUPPORTED);
            None
        }
    }
}

fn report_no_mechanism(table: &mut Table<'_>, login: Option<&Login<'_>>) {
    let Some(protocol) = table.get("security.protocol") else {
        return;
    };
    table.report(
        Kind::Missing,
        protocol.value(),
        "`sasl.mechanism` is not set",
        "this needs a mechanism; Kafka's default is Kerberos, which is not supported",
    );
    table.help(match login.map(|login| login.module) {
        Some(Module::Kerberos) => KERBEROS_HELP.to_owned(),
        Some(module) => format!(
            "set sasl.mechanism to {}, as the login module has it",
            module.mechanism()
        ),
        None => format!("set sasl.mechanism to {}", SUPPORTED.join(", ")),
    });
}

/// The login module that counts. `Err` when there is none or it has mistakes, which are reported.
fn login<'e>(table: &mut Table<'e>) -> Result<Login<'e>, ()> {
    let found = table.get(JAAS).ok_or(())?;
    // Written in the table, a user and a password win over a login module in the file.
    let beaten = ["sasl.username", "sasl.password"].iter().any(|key| {
        table
            .get(key)
            .is_some_and(|other| other.entry.from > found.entry.from)
    });
    if beaten {
        return Err(());
    }
    let text = found.str().ok_or(())?;
    let jaas = jaas::parse(text).map_err(|error| {
        table.report(
            Kind::BadJaas,
            found.spot(Part::Within(error.range)),
            "`sasl.jaas.config` is no login module",
            error.problem.label(),
        );
        table.help(error.problem.help());
    })?;
    let Some(module) = Module::of(&jaas.module.text) else {
        let at = found.spot(Part::Within(jaas.module.range.clone()));
        let known = jaas.module.text.ends_with("LoginModule");
        if known {
            table.harmless.push(at.clone());
        }
        table.report(
            Kind::BadJaas,
            at,
            "there is no such login module here",
            "no class that is understood",
        );
        table.help(
            "org.apache.kafka.common.security.plain.PlainLoginModule, …scram.ScramLoginModule and \
             …oauthbearer.OAuthBearerLoginModule are, and software.amazon.msk.auth.iam.IAMLoginModule",
        );
        return Err(());
    };
    reveal(table, found, &jaas);
    let login = Login {
        found,
        jaas,
        module,
    };
    if module == Module::Kerberos {
        let spot = login.at(&login.jaas.module);
        table.report(
            Kind::Refused,
            spot,
            "Kerberos is not supported",
            "this login module is for Kerberos",
        );
        table.help(KERBEROS_HELP);
        return Err(());
    }
    Ok(login)
}

/// What of the login module is no secret: everything but the values of options that are not known
/// to be harmless.
fn reveal(table: &mut Table<'_>, found: Found<'_>, jaas: &Jaas) {
    let mut show = |range: &Range<usize>| {
        table.harmless.push(found.spot(Part::Within(range.clone())));
    };
    show(&jaas.module.range);
    show(&jaas.flag.range);
    for (name, value) in &jaas.options {
        if is_option_name(&name.text) {
            show(&name.range);
        }
        if HARMLESS_OPTIONS.contains(&name.text.as_str()) {
            show(&value.range);
        }
    }
}

/// Whether it is certainly the name of an option and no part of a password with a blank in it.
fn is_option_name(name: &str) -> bool {
    const LONGEST: usize = 40;
    name.len() <= LONGEST
        && name
            .chars()
            .all(|char| char.is_ascii_alphabetic() || matches!(char, '_' | '.'))
}

const HARMLESS_OPTIONS: &[&str] = &[
    "username",
    "tokenauth",
    "clientId",
    "scope",
    "awsProfileName",
    "oauth.client.id",
    "oauth.scope",
    "oauth.token.endpoint.uri",
];

/// Options that are understood, carried out or refused.
fn options_of(module: Module) -> &'static [&'static str] {
    match module {
        Module::Plain => &["username", "password"],
        Module::Scram => &["username", "password", "tokenauth"],
        Module::OAuthBearer => oauth::OPTIONS,
        Module::MskIam => &[
            "awsProfileName",
            "awsRoleArn",
            "awsRoleSessionName",
            "awsRoleExternalId",
            "awsRoleAccessKeyId",
            "awsRoleSecretAccessKey",
            "awsRoleSessionToken",
            "awsStsRegion",
            "awsDebugCreds",
            "awsMaxRetries",
            "awsMaxBackOffTimeMs",
        ],
        Module::Kerberos => &[],
    }
}

/// Says of options that are not understood that they have no effect. `None` when the module cannot
/// serve the mechanism.
fn check_module(
    table: &mut Table<'_>,
    login: &Login<'_>,
    mechanism_found: Found<'_>,
    mechanism: Mechanism,
) -> Option<()> {
    let fits = match mechanism {
        // Kafka's PLAIN takes the credentials of either module.
        Mechanism::Plain => matches!(login.module, Module::Plain | Module::Scram),
        Mechanism::Scram(_) => login.module == Module::Scram,
        Mechanism::OAuthBearer => matches!(login.module, Module::OAuthBearer | Module::MskIam),
        Mechanism::MskIam => login.module == Module::MskIam,
    };
    if !fits {
        let label = format!("this login module is for {}", login.module.mechanism());
        table
            .report(
                Kind::Conflict,
                login.at(&login.jaas.module),
                "login module and mechanism do not belong together",
                label,
            )
            .also
            .push((mechanism_found.value(), "the mechanism".to_owned()));
        table.help("change one of the two");
        return None;
    }
    for (name, _) in &login.jaas.options {
        let known = options_of(login.module);
        let is_family = login.module == Module::OAuthBearer
            && ["extension_", oauth::UNSECURED]
                .iter()
                .any(|family| name.text.starts_with(family));
        if known.contains(&name.text.as_str()) || is_family {
            continue;
        }
        let message = if is_option_name(&name.text) {
            format!(
                "the option `{}` of the login module has no effect here",
                name.text
            )
        } else {
            "an option of the login module has no effect here".to_owned()
        };
        table.report(
            Kind::NoEffect,
            login.at(name),
            message,
            "not among those that are understood",
        );
        let nearest = crate::nearest::nearest(&name.text, known.iter().copied());
        table.help(match nearest {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("those are {}", known.join(", ")),
        });
    }
    Some(())
}

/// User and password, from keys of their own or from the login module.
fn credentials(
    table: &mut Table<'_>,
    login: Option<&Login<'_>>,
    mechanism: Found<'_>,
    broken: bool,
) -> Option<Credentials> {
    const KEYS: [&str; 2] = ["sasl.username", "sasl.password"];
    let given = KEYS.map(|key| table.get(key));
    if let (Some(login), Some(key)) = (login, given.into_iter().flatten().next()) {
        // Where the key is in the table and the module in the file, there is no login.
        if key.entry.from == login.found.entry.from {
            let message = format!("`{}` and `{JAAS}` are both set", key.entry.key);
            table
                .report(
                    Kind::Conflict,
                    key.key(),
                    message,
                    "both say who the client is",
                )
                .also
                .push((login.found.key(), "the other one".to_owned()));
            table.help("keep one of them");
            return None;
        }
    }
    if let Some(login) = login {
        let [username, password] = ["username", "password"].map(|name| {
            let option = login.option(name);
            if option.is_none() {
                table.report(
                    Kind::BadJaas,
                    login.at(&login.jaas.module),
                    format!("the login module has no {name}"),
                    format!("the option `{name}` is missing"),
                );
                table.help(jaas::Problem::NoValue.help());
            }
            option
        });
        return Some(Credentials {
            username: username?,
            password: password?,
        });
    }
    if let [None, None] = given {
        if !broken {
            table.report(
                Kind::Missing,
                mechanism.value(),
                "there is no user and no password",
                "this needs both",
            );
            table.help(format!("set sasl.username and sasl.password, or {JAAS}"));
        }
        return None;
    }
    let [username, password] = KEYS;
    for (wanted, other) in [(username, password), (password, username)] {
        if let (None, Some(other)) = (table.get(wanted), table.get(other)) {
            let message = format!("`{wanted}` is not set");
            table.report(Kind::Missing, other.key(), message, "this is no use alone");
            table.help(format!("set {wanted}"));
        }
    }
    Some(Credentials {
        username: table.keyed(username)?,
        password: table.keyed(password)?,
    })
}

fn token_auth(table: &mut Table<'_>, login: &Login<'_>) -> bool {
    let Some(word) = login.jaas.option("tokenauth") else {
        return false;
    };
    match word.text.to_lowercase().as_str() {
        "true" => true,
        "false" => false,
        _ => {
            table.report(
                Kind::BadJaas,
                login.at(word),
                "`tokenauth` has no usable value",
                "has to be true or false",
            );
            false
        }
    }
}

pub(super) fn msk_iam(table: &mut Table<'_>, login: Option<&Login<'_>>) -> TokenSource {
    let mut profile = None;
    if let Some(login) = login {
        profile = login
            .jaas
            .option("awsProfileName")
            .map(|word| word.text.clone());
        for (name, _) in &login.jaas.options {
            if name.text.starts_with("awsRole") || name.text == "awsStsRegion" {
                let message = format!("the option `{}` is not supported", name.text);
                table.report(
                    Kind::Refused,
                    login.at(name),
                    message,
                    "roles are not assumed here",
                );
                table.help(
                    "give the role to the machine or the pod, or assume it in a profile of the \
                     shared credentials file and name that with awsProfileName",
                );
            } else if matches!(
                name.text.as_str(),
                "awsDebugCreds" | "awsMaxRetries" | "awsMaxBackOffTimeMs"
            ) {
                let message = format!(
                    "the option `{}` of the login module has no effect here",
                    name.text
                );
                table.report(
                    Kind::NoEffect,
                    login.at(name),
                    message,
                    "it is for Amazon's Java library",
                );
            }
        }
    }
    TokenSource::MskIam {
        profile,
        region: None,
    }
}

/// The simple name of the class that a key names, if it is one of those that are understood. Any
/// other class is refused.
pub(super) fn callback_handler(
    table: &mut Table<'_>,
    key: &str,
    understood: &[&'static str],
) -> Option<&'static str> {
    let found = table.get(key)?;
    let class = found.str()?.trim();
    let simple = class.rsplit(['.', '$']).next().unwrap_or(class);
    let known = understood.iter().copied().find(|name| *name == simple);
    if known.is_none() {
        let message = format!("the class of `{key}` is not supported");
        table.report(
            Kind::Refused,
            found.value(),
            message,
            "kmirror runs no Java classes",
        );
        table.help(if understood.is_empty() {
            "take it out".to_owned()
        } else {
            format!("what {} do is understood by name", understood.join(", "))
        });
    }
    known
}
