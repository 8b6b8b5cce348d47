//! `certgate user`: whom devices and certificates belong to.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    admin::{AdminClient, PageArgs, ServerArgs, YesArgs, for_each, segment},
    device::{name_and_value, show},
    output::{self, Field, Format},
};
use crate::app::failure::Outcome;

/// Record users, disable or delete them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  certgate user add ada@lab.example --email ada@lab.example --display-name \"Ada L.\"
  certgate user disable ada@lab.example    their certificates go on hold
  certgate user delete ada@lab.example     their certificates are revoked (affiliationChanged)")]
pub(super) struct UserArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Record a user, or replace what is recorded
    Add(Box<AddArgs>),
    /// List users
    List(PageArgs),
    /// Show a user with devices and certificates
    Show {
        /// The user
        id: String,
    },
    /// Put a disabled user back in good standing: holds are released
    Enable(EventArgs),
    /// Disable: certificates go on hold
    Disable(EventArgs),
    /// Delete: certificates are revoked for good
    Delete {
        /// One or more users
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        yes: YesArgs,
    },
}

#[derive(Args, Debug)]
struct AddArgs {
    /// Name in certgate, usually the UPN or e-mail address
    id: String,
    /// userPrincipalName
    #[arg(long)]
    upn: Option<String>,
    /// E-mail address
    #[arg(long)]
    email: Option<String>,
    /// Given name
    #[arg(long)]
    first_name: Option<String>,
    /// Family name
    #[arg(long)]
    last_name: Option<String>,
    /// Name for people
    #[arg(long)]
    display_name: Option<String>,
    /// Distinguished name in the directory
    #[arg(long)]
    dn: Option<String>,
    /// Security identifier, S-1-5-..
    #[arg(long)]
    sid: Option<String>,
    /// Locale
    #[arg(long)]
    locale: Option<String>,
    /// Further value for templates; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = name_and_value)]
    attributes: Vec<(String, String)>,
}

#[derive(Args, Debug)]
struct EventArgs {
    /// One or more users
    #[arg(required = true)]
    ids: Vec<String>,
    /// Why; kept in the audit record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

const COLUMNS: &[Field] =
    &[("USER", "/id"), ("STATE", "/state"), ("NAME", "/display_name"), ("EMAIL", "/email"), ("UPN", "/upn")];

const FIELDS: &[Field] = &[
    ("User", "/id"),
    ("State", "/state"),
    ("Name", "/display_name"),
    ("First name", "/first_name"),
    ("Last name", "/last_name"),
    ("Email", "/email"),
    ("UPN", "/upn"),
    ("DN", "/dn"),
    ("SID", "/sid"),
    ("Locale", "/locale"),
    ("Attributes", "/attributes"),
    ("Recorded", "/created_at"),
    ("Devices", "/devices"),
];

/// Runs `certgate user ..`.
pub(super) fn run(args: UserArgs, format: Format) -> Outcome {
    let client = args.server.connect()?;
    match args.verb {
        Verb::Add(user) => {
            let path = format!("/users/{}", segment(&user.id));
            output::object(format, &client.put(&path, &attributes(*user))?, FIELDS);
            Ok(())
        }
        Verb::List(page) => {
            output::listing(format, &client.get(&format!("/users{}", page.query(&[])))?, COLUMNS);
            Ok(())
        }
        Verb::Show { id } => {
            show(format, &client.get(&format!("/users/{}", segment(&id)))?, FIELDS);
            Ok(())
        }
        Verb::Enable(event) => happen(&client, format, "enable", &event),
        Verb::Disable(event) => happen(&client, format, "disable", &event),
        Verb::Delete { ids, yes } => {
            yes.confirm(&format!("Delete {} and revoke their certificates for good?", ids.join(", ")))?;
            for_each(&ids, |id| {
                said(format, id, &client.delete(&format!("/users/{}", segment(id)))?);
                Ok(())
            })
        }
    }
}

fn happen(client: &AdminClient, format: Format, event: &str, args: &EventArgs) -> Outcome {
    let note = json!({ "note": args.note.as_deref().unwrap_or_default() });
    for_each(&args.ids, |id| {
        said(format, id, &client.post(&format!("/users/{}/{event}", segment(id)), &note)?);
        Ok(())
    })
}

fn said(format: Format, id: &str, outcome: &Value) {
    match format {
        Format::Json => output::json(outcome),
        Format::Table => {
            let state = outcome.pointer("/user/state").and_then(Value::as_str).unwrap_or("done");
            output::line(&format!("{id}: {state}"));
        }
    }
}

fn attributes(args: AddArgs) -> Value {
    let texts = [
        ("upn", args.upn),
        ("email", args.email),
        ("first_name", args.first_name),
        ("last_name", args.last_name),
        ("display_name", args.display_name),
        ("dn", args.dn),
        ("sid", args.sid),
        ("locale", args.locale),
    ];
    let mut user: Map<String, Value> =
        texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
    let further: Map<String, Value> =
        args.attributes.into_iter().map(|(name, value)| (name, value.into())).collect();
    user.insert("attributes".to_owned(), further.into());
    user.into()
}
