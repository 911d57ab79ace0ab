//! Where credentials for object stores are looked for; they are handed on, and never kept, shown or written down.
//!
//! The places are those of the services' own tools: variables, files in the home directory, roles of the machine. Where
//! there is nothing at all, the bucket is asked without a signature, as a public one is.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::objects::Bucket;
use super::wire::{self, Connector, METADATA_CONNECT};
use crate::error::{Error, Result};
use crate::source::{RemoteUrl, Service};

/// Where every cloud has the service that gives a machine the credentials of its role.
const METADATA: &str = "169.254.169.254:80";

/// Opens a bucket.
///
/// # Errors
/// Credentials that cannot be used, or a service of an impossible address: kind `Input`.
pub async fn open(url: &RemoteUrl, connector: &Connector) -> Result<Arc<dyn Bucket>> {
    let surroundings = Surroundings::of_process();
    // Failures are classed and tried again by the fetcher, as those of all other places.
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let unusable = |error: object_store::Error| wire::unusable(url, &error);
    Ok(match url.service() {
        Service::Registry => return Err(Error::bug(format!("{url} is no bucket"))),
        Service::S3 => {
            let (builder, found) = surroundings.s3(url)?;
            let builder = if found || has_role(&surroundings, "AWS_EC2_METADATA_DISABLED").await {
                builder
            } else {
                builder.with_skip_signature(true)
            };
            let builder = builder.with_retry(retry).with_client_options(connector.options());
            Arc::new(builder.with_http_connector(connector.clone()).build().map_err(unusable)?)
        }
        Service::Google => {
            let (builder, found) = surroundings.google(url)?;
            let builder = if found || has_role(&surroundings, "NO_GCE_CHECK").await {
                builder
            } else {
                builder.with_skip_signature(true)
            };
            let builder = builder.with_retry(retry).with_client_options(connector.options());
            Arc::new(builder.with_http_connector(connector.clone()).build().map_err(unusable)?)
        }
        Service::Azure => {
            let (builder, found) = surroundings.azure(url)?;
            let builder =
                if found || has_role(&surroundings, "").await { builder } else { builder.with_skip_signature(true) };
            let builder = builder.with_retry(retry).with_client_options(connector.options());
            Arc::new(builder.with_http_connector(connector.clone()).build().map_err(unusable)?)
        }
    })
}

/// Whether this machine may have a role: its metadata service is there. `switch` is the variable that says not to look.
async fn has_role(surroundings: &Surroundings, switch: &str) -> bool {
    if surroundings.get(switch).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return false;
    }
    let connected = tokio::time::timeout(METADATA_CONNECT, tokio::net::TcpStream::connect(METADATA)).await;
    let there = matches!(connected, Ok(Ok(_)));
    if !there {
        tracing::debug!("no credentials were found, and this machine has no role: nothing is signed");
    }
    there
}

/// The environment, and the home directory.
struct Surroundings {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

impl Surroundings {
    fn of_process() -> Surroundings {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Surroundings { variables: env::vars_os().filter_map(text).collect(), home: env::home_dir() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A client of S3, and whether anything was found to sign with.
    fn s3(&self, url: &RemoteUrl) -> Result<(AmazonS3Builder, bool)> {
        let mut builder = AmazonS3Builder::new().with_bucket_name(url.bucket());
        let mut set: BTreeMap<String, String> = self.profile()?;
        let own = self.variables.iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
        let own: Vec<(String, String)> = own.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        // A pair of keys, and what else goes with it, is of one place.
        if own.iter().any(|(name, _)| name == "aws_access_key_id") {
            set.retain(|name, _| !is_key(name));
        }
        set.extend(own);
        let found = set.keys().any(|name| is_key(name) || is_role(name)) || set.contains_key("aws_skip_signature");
        for (name, value) in &set {
            if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        Ok((builder, found))
    }

    /// What the profile of AWS's files says, under the names of variables in lower case.
    fn profile(&self) -> Result<BTreeMap<String, String>> {
        let named = self.get("AWS_PROFILE").or(self.get("AWS_DEFAULT_PROFILE"));
        let name = named.unwrap_or("default");
        let file = |variable: &str, usual: &str| {
            self.get(variable).map(PathBuf::from).or_else(|| Some(self.home.as_ref()?.join(".aws").join(usual)))
        };
        let config = file("AWS_CONFIG_FILE", "config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config_name = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let mut found = BTreeMap::new();
        let mut known = false;
        for (path, section) in [(config, config_name.as_str()), (credentials, name)] {
            let Some(section) = path.and_then(|path| section_of(&path, section).transpose()) else { continue };
            known = true;
            found.extend(section?);
        }
        if !known && named.is_some() {
            let error = Error::input(format!("there is no profile `{}` of AWS", name.escape_debug()));
            return Err(error.help("AWS_PROFILE names it; `~/.aws/credentials` and `~/.aws/config` hold profiles"));
        }
        let has_keys = found.contains_key("aws_access_key_id");
        if let Some(way) = ["role_arn", "credential_process", "sso_session", "sso_start_url"]
            .into_iter()
            .find(|way| found.contains_key(*way) && !has_keys)
            && self.get("AWS_ACCESS_KEY_ID").is_none()
        {
            let error = Error::input(format!("the profile `{}` has its credentials by `{way}`", name.escape_debug()));
            return Err(
                error.help("give them to kbuild with `eval \"$(aws configure export-credentials --format env)\"`")
            );
        }
        let names = [
            ("aws_access_key_id", "aws_access_key_id"),
            ("aws_secret_access_key", "aws_secret_access_key"),
            ("aws_session_token", "aws_session_token"),
            ("region", "aws_default_region"),
            ("endpoint_url", "aws_endpoint_url"),
        ];
        Ok(names.into_iter().filter_map(|(from, to)| Some((to.to_owned(), found.remove(from)?))).collect())
    }

    /// A client of Google's, and whether anything was found to sign with.
    fn google(&self, url: &RemoteUrl) -> Result<(GoogleCloudStorageBuilder, bool)> {
        let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(url.bucket());
        let mut found = false;
        if let Some(path) = self.get("SERVICE_ACCOUNT") {
            builder = builder.with_service_account_path(path);
            found = true;
        }
        for (name, value) in
            self.variables.iter().filter(|(name, value)| name.starts_with("GOOGLE_") && !value.is_empty())
        {
            if let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>() {
                found |=
                    !matches!(key, GoogleConfigKey::Bucket | GoogleConfigKey::BaseUrl | GoogleConfigKey::Client(_));
                builder = builder.with_config(key, value);
            }
        }
        let usual = self.home.as_ref().map(|home| home.join(".config/gcloud/application_default_credentials.json"));
        found |= usual.is_some_and(|path| path.is_file());
        Ok((builder.with_bucket_name(url.bucket()), found))
    }

    /// A client of Azure's, and whether anything was found to sign with.
    fn azure(&self, url: &RemoteUrl) -> Result<(MicrosoftAzureBuilder, bool)> {
        let mut builder = MicrosoftAzureBuilder::new();
        let mut account = false;
        let mut found = false;
        for (name, value) in
            self.variables.iter().filter(|(name, value)| name.starts_with("AZURE_") && !value.is_empty())
        {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AzureConfigKey>() {
                account |= matches!(key, AzureConfigKey::AccountName | AzureConfigKey::UseEmulator);
                found |= !matches!(
                    key,
                    AzureConfigKey::AccountName
                        | AzureConfigKey::ContainerName
                        | AzureConfigKey::Endpoint
                        | AzureConfigKey::AuthorityId
                        | AzureConfigKey::AuthorityHost
                        | AzureConfigKey::Client(_)
                );
                builder = builder.with_config(key, value);
            }
        }
        if !account {
            let error = Error::input(format!("{url} has no storage account"));
            return Err(error.help("let AZURE_STORAGE_ACCOUNT_NAME name it"));
        }
        Ok((builder.with_container_name(url.bucket()), found))
    }
}

fn is_key(name: &str) -> bool {
    ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"].contains(&name)
}

/// Variables that say how a role's credentials are to be had.
fn is_role(name: &str) -> bool {
    name == "aws_web_identity_token_file" || name.starts_with("aws_container_credentials_")
}

/// A section of an INI file; nothing where the file or the section is not there.
fn section_of(path: &Path, section: &str) -> Result<Option<BTreeMap<String, String>>> {
    if !path.is_file() {
        return Ok(None);
    }
    // Its own message would show the line at fault, which may hold a secret.
    let read = ini::Ini::load_from_file_noescape(path);
    let read = read.map_err(|_| Error::input(format!("{} is not in order", crate::disk::shown(path))))?;
    let properties = read.section(Some(section));
    Ok(properties
        .map(|properties| properties.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned())).collect()))
}
