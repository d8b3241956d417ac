//! What a sender may settle, in the three spellings of the plain upload: form field, query parameter, header.

use std::time::Duration;

use axum::http::HeaderMap;

use super::App;
use super::error::Error;
use crate::store::Settled;

const DAY: u64 = 24 * 3600;

/// Options of a plain upload, as far as they are known.
#[derive(Default)]
pub(super) struct Options {
    pub(super) expires_in: Option<Duration>,
    pub(super) downloads: Option<u32>,
    pub(super) password: Option<String>,
    pub(super) note: String,
    /// As a query parameter only: a form has its own field.
    pub(super) text: Option<String>,
}

impl Options {
    /// Reads query parameters, and headers in transfer.sh's way; the former win.
    pub(super) fn of(query: &[(String, String)], headers: &HeaderMap, app: &App) -> Result<Self, Error> {
        let mut options = Self::default();
        let header = |name: &str| -> Result<Option<&str>, Error> {
            let text = headers.get(name).map(|value| std::str::from_utf8(value.as_bytes()));
            text.transpose().map_err(|_| Error::BadRequest(format!("The header {name} must be UTF-8.")))
        };
        if let Some(days) = header("max-days")? {
            let most = app.config.max_expires_in.as_secs() / DAY;
            options.expires_in = Some(Duration::from_secs(DAY * whole_number(days, "Max-Days", 1, most.max(1))?));
            if options.expires_in > Some(app.config.max_expires_in) {
                return Err(Error::BadRequest("Max-Days is more than this server allows.".into()));
            }
        }
        if let Some(number) = header("max-downloads")? {
            options.downloads = Some(downloads(number, app)?);
        }
        if let Some(password) = header("share-password")? {
            options.set("password", password, app)?;
        }
        for (name, value) in query {
            if !options.set(name, value, app)? {
                return Err(unknown(name));
            }
        }
        Ok(options)
    }

    /// Sets one option; `false` where there is none of that name. An empty value leaves it as it is: so do forms.
    pub(super) fn set(&mut self, name: &str, value: &str, app: &App) -> Result<bool, Error> {
        match name {
            "expires_in" if !value.is_empty() => self.expires_in = Some(expires_in(value, app)?),
            "downloads" if !value.is_empty() => self.downloads = Some(downloads(value, app)?),
            "password" if !value.is_empty() => self.password = Some(value.to_owned()),
            "note" if !value.is_empty() => value.replace("\r\n", "\n").trim_end().clone_into(&mut self.note),
            "text" if !value.is_empty() => self.text = Some(value.to_owned()),
            "expires_in" | "downloads" | "password" | "note" | "text" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What holds, with the server's defaults.
    pub(super) fn settled(&self, app: &App) -> Settled {
        Settled {
            password: self.password.is_some(),
            expires_in: self.expires_in.unwrap_or(app.config.default_expires_in),
            downloads: self.downloads.unwrap_or(1),
            note: self.note.clone(),
        }
    }
}

/// An option that does not exist: a mistyped `password` must not pass for none.
pub(super) fn unknown(name: &str) -> Error {
    let name: String = name.chars().take(40).collect();
    Error::BadRequest(format!(
        "There is no option {name:?}; there are expires_in, downloads, password, note, and in forms file and text."
    ))
}

/// Seconds from publishing to expiry.
pub(super) fn expires_in(text: &str, app: &App) -> Result<Duration, Error> {
    whole_number(text, "expires_in", 1, app.config.max_expires_in.as_secs()).map(Duration::from_secs)
}

/// How many claims may be granted.
pub(super) fn downloads(text: &str, app: &App) -> Result<u32, Error> {
    let number = whole_number(text, "downloads", 1, app.config.max_downloads.into())?;
    Ok(u32::try_from(number).unwrap_or(app.config.max_downloads))
}

/// A number between `least` and `most`.
pub(super) fn whole_number(text: &str, name: &str, least: u64, most: u64) -> Result<u64, Error> {
    let digits = Some(text.trim()).filter(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok()).filter(|number| (least..=most).contains(number));
    let filling = || vec![("name", name.to_owned()), ("least", least.to_string()), ("most", most.to_string())];
    number.ok_or_else(|| Error::BadForm("form.number", filling()))
}
