//! Where kbuild looks for credentials of object stores. They are passed on, and never kept, shown or written.
//!
//! The places are those of the services' own tools: variables, files in the home directory, roles of the machine. Without
//! credentials, requests are not signed, as for a public bucket.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::connector::{self, Bucket, Connector, METADATA_CONNECT};
use crate::env_vars;
use crate::error::{Error, Result};
use crate::source::{RemoteUrl, Service};

/// The address of the metadata service, which gives a machine the credentials of its role, in every cloud.
const METADATA: &str = "169.254.169.254:80";

/// Opens a bucket.
///
/// # Errors
/// The credentials cannot be used, or the service's address is not valid: kind `Input`.
pub(crate) async fn open(url: &RemoteUrl, connector: &Connector) -> Result<Arc<dyn Bucket>> {
    open_with(&Env::of_process(), url, connector).await
}

async fn open_with(env: &Env, url: &RemoteUrl, connector: &Connector) -> Result<Arc<dyn Bucket>> {
    // The fetcher retries failures, as for all other places.
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let unusable = |error: object_store::Error| connector::unusable(url, &error);
    Ok(match url.service() {
        Service::Registry => return Err(Error::bug(format!("{url} is not a bucket"))),
        Service::S3 => {
            let (builder, found) = env.s3(url)?;
            let builder = if found || has_role(env, env_vars::AWS_EC2_METADATA_DISABLED).await {
                builder
            } else {
                builder.with_skip_signature(true)
            };
            let builder = builder.with_retry(retry).with_client_options(connector.options());
            Arc::new(builder.with_http_connector(connector.clone()).build().map_err(unusable)?)
        }
        Service::Google => {
            let (builder, found) = env.google(url)?;
            let builder = if found || has_role(env, env_vars::NO_GCE_CHECK).await {
                builder
            } else {
                builder.with_skip_signature(true)
            };
            let builder = builder.with_retry(retry).with_client_options(connector.options());
            Arc::new(builder.with_http_connector(connector.clone()).build().map_err(unusable)?)
        }
        Service::Azure => {
            let (builder, found) = env.azure(url)?;
            let builder = if found || has_role(env, "").await { builder } else { builder.with_skip_signature(true) };
            let builder = builder.with_retry(retry).with_client_options(connector.options());
            Arc::new(builder.with_http_connector(connector.clone()).build().map_err(unusable)?)
        }
    })
}

/// Whether this machine may have a role: its metadata service answers. The variable `switch` turns the check off.
async fn has_role(env: &Env, switch: &str) -> bool {
    if env.get(switch).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return false;
    }
    let connected = tokio::time::timeout(METADATA_CONNECT, tokio::net::TcpStream::connect(METADATA)).await;
    let there = matches!(connected, Ok(Ok(_)));
    if !there {
        tracing::debug!("no credentials were found, and this machine has no role: requests are not signed");
    }
    there
}

/// The environment, and the home directory.
struct Env {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

impl Env {
    fn of_process() -> Env {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Env { variables: env::vars_os().filter_map(text).collect(), home: env::home_dir() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A client of S3, and whether it has credentials.
    fn s3(&self, url: &RemoteUrl) -> Result<(AmazonS3Builder, bool)> {
        let mut builder = AmazonS3Builder::new().with_bucket_name(url.bucket());
        let mut set: BTreeMap<String, String> = self.profile()?;
        let own = self.variables.iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
        let own: Vec<(String, String)> = own.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        // A pair of keys, and what belongs to it, is from one place.
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

    /// The values of a profile in AWS's files, by the names of variables in lower case.
    fn profile(&self) -> Result<BTreeMap<String, String>> {
        let named = self.get(env_vars::AWS_PROFILE).or(self.get(env_vars::AWS_DEFAULT_PROFILE));
        let name = named.unwrap_or("default");
        let file = |variable: &str, usual: &str| {
            self.get(variable).map(PathBuf::from).or_else(|| Some(self.home.as_ref()?.join(".aws").join(usual)))
        };
        let config = file(env_vars::AWS_CONFIG_FILE, "config");
        let credentials = file(env_vars::AWS_SHARED_CREDENTIALS_FILE, "credentials");
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
            return Err(
                error.help("its name is from AWS_PROFILE; profiles are in `~/.aws/credentials` and `~/.aws/config`")
            );
        }
        let has_keys = found.contains_key("aws_access_key_id");
        if let Some(way) = ["role_arn", "credential_process", "sso_session", "sso_start_url"]
            .into_iter()
            .find(|way| found.contains_key(*way) && !has_keys)
            && self.get(env_vars::AWS_ACCESS_KEY_ID).is_none()
        {
            let error = Error::input(format!(
                "the profile `{}` gets its credentials by `{way}`, which kbuild does not support",
                name.escape_debug()
            ));
            return Err(
                error.help("pass them to kbuild with `eval \"$(aws configure export-credentials --format env)\"`")
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

    /// A client of Google's storage, and whether it has credentials.
    fn google(&self, url: &RemoteUrl) -> Result<(GoogleCloudStorageBuilder, bool)> {
        let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(url.bucket());
        let mut found = false;
        if let Some(path) = self.get(env_vars::SERVICE_ACCOUNT) {
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

    /// A client of Azure's storage, and whether it has credentials.
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
            return Err(error.help("set AZURE_STORAGE_ACCOUNT_NAME"));
        }
        Ok((builder.with_container_name(url.bucket()), found))
    }
}

fn is_key(name: &str) -> bool {
    ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"].contains(&name)
}

/// Variables that say how to get a role's credentials.
fn is_role(name: &str) -> bool {
    name == "aws_web_identity_token_file" || name.starts_with("aws_container_credentials_")
}

/// A section of an INI file; `None` if the file or the section does not exist.
fn section_of(path: &Path, section: &str) -> Result<Option<BTreeMap<String, String>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut ini = configparser::ini::Ini::new_from_defaults(python_syntax());
    // The library's message may show the faulty line, which may contain a secret.
    ini.load(path).map_err(|_| Error::input(format!("{} is not a valid INI file", crate::disk::shown(path))))?;
    let lower = |(key, value): (&String, &Option<String>)| Some((key.to_ascii_lowercase(), value.clone()?));
    Ok(ini.get_map_ref().get(section).map(|properties| properties.iter().filter_map(lower).collect()))
}

/// AWS's own programs read these files with Python's `configparser`: names of sections keep their case, and a `#` after a
/// value is part of it.
fn python_syntax() -> configparser::ini::IniDefault {
    let mut syntax = configparser::ini::IniDefault::default();
    syntax.case_sensitive = true;
    syntax.inline_comment_symbols = Some(Vec::new());
    syntax
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(home: &Path, variables: &[(&str, &str)]) -> Env {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Env { variables, home: Some(home.to_owned()) }
    }

    fn url(text: &str) -> RemoteUrl {
        text.parse().unwrap()
    }

    fn s3(home: &Path, variables: &[(&str, &str)]) -> Result<(AmazonS3Builder, bool)> {
        env(home, variables).s3(&url("s3://team/kata"))
    }

    fn said(builder: &AmazonS3Builder, key: AmazonS3ConfigKey) -> Option<String> {
        builder.get_config_value(&key)
    }

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let credentials = "[default]\naws_access_key_id=usual\naws_secret_access_key = a/b+c=\n\n\
                           [team]\naws_access_key_id = team\naws_secret_access_key = secret\naws_session_token = token\n";
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let config = "[default]\nregion = eu-west-1\n[profile team]\nregion = eu-north-1\nendpoint_url = http://minio:9000\n\
                      [profile sso]\nsso_session = corp\n";
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        home
    }

    #[test]
    fn keys_of_the_environment_come_before_those_of_a_profile() {
        use AmazonS3ConfigKey as Key;
        let home = home();
        let (usual, found) = s3(home.path(), &[]).unwrap();
        assert!(found);
        assert_eq!(said(&usual, Key::AccessKeyId).as_deref(), Some("usual"));
        assert_eq!(said(&usual, Key::SecretAccessKey).as_deref(), Some("a/b+c="));
        assert_eq!(said(&usual, Key::DefaultRegion).or(said(&usual, Key::Region)).as_deref(), Some("eu-west-1"));

        let (team, _) = s3(home.path(), &[("AWS_PROFILE", "team"), ("AWS_REGION", "us-east-2")]).unwrap();
        assert_eq!(said(&team, Key::AccessKeyId).as_deref(), Some("team"));
        assert_eq!(said(&team, Key::Token).as_deref(), Some("token"));
        assert_eq!(said(&team, Key::Endpoint).as_deref(), Some("http://minio:9000"));
        assert_eq!(said(&team, Key::Region).as_deref(), Some("us-east-2"), "a variable wins over a file");

        let keys = [("AWS_PROFILE", "team"), ("AWS_ACCESS_KEY_ID", "own"), ("AWS_SECRET_ACCESS_KEY", "x")];
        let (own, _) = s3(home.path(), &keys).unwrap();
        assert_eq!(said(&own, Key::AccessKeyId).as_deref(), Some("own"));
        assert_eq!(said(&own, Key::Token), None, "a token of another place is not mixed in");
        assert_eq!(said(&own, Key::Bucket).as_deref(), Some("team"));
    }

    #[test]
    fn profiles_that_are_not_there_or_need_a_tool_are_named() {
        let home = home();
        let error = s3(home.path(), &[("AWS_PROFILE", "temp")]).unwrap_err();
        assert!(error.to_string().contains("`temp`"), "{error}");
        let error = s3(home.path(), &[("AWS_PROFILE", "sso")]).unwrap_err();
        assert!(error.hint().unwrap().contains("export-credentials"), "{error}");
        std::fs::write(home.path().join("broken"), "[default\naws_secret_access_key = secret\n").unwrap();
        let broken = home.path().join("broken").display().to_string();
        let error = s3(home.path(), &[("AWS_SHARED_CREDENTIALS_FILE", &broken)]).unwrap_err();
        assert!(!format!("{error} {:?}", error.causes()).contains("secret"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert!(!s3(empty.path(), &[]).unwrap().1);
        let role = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn:x")];
        assert!(s3(empty.path(), &role).unwrap().1);
    }

    #[test]
    fn google_and_azure_read_their_own_variables() {
        let home = tempfile::tempdir().unwrap();
        let google = |variables: &[(&str, &str)]| {
            let (builder, found) = env(home.path(), variables).google(&url("gs://team/kata")).unwrap();
            let said = |key: GoogleConfigKey| builder.get_config_value(&key);
            (said(GoogleConfigKey::Bucket), said(GoogleConfigKey::ApplicationCredentials), found)
        };
        assert_eq!(google(&[]), (Some("team".to_owned()), None, false));
        let file = Some("/key.json".to_owned());
        let variables = [("GOOGLE_APPLICATION_CREDENTIALS", "/key.json"), ("GOOGLE_BUCKET", "other")];
        assert_eq!(google(&variables), (Some("team".to_owned()), file, true));

        let azure = |variables: &[(&str, &str)]| env(home.path(), variables).azure(&url("az://sources/kata"));
        let error = azure(&[("AZURE_STORAGE_ACCOUNT_KEY", "secret")]).unwrap_err();
        assert!(error.hint().unwrap().contains("AZURE_STORAGE_ACCOUNT_NAME"), "{error}");
        let (builder, found) = azure(&[("AZURE_STORAGE_ACCOUNT_NAME", "corp")]).unwrap();
        assert_eq!(
            (builder.get_config_value(&AzureConfigKey::ContainerName).as_deref(), found),
            (Some("sources"), false)
        );
        for secret in ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_TOKEN"] {
            assert!(azure(&[("AZURE_STORAGE_ACCOUNT_NAME", "corp"), (secret, "x")]).unwrap().1, "{secret}");
        }
    }

    #[tokio::test]
    async fn clients_are_made_without_asking_anybody() {
        let home = home();
        let connector = Connector::new(&crate::net::retry::RetryPolicy::default());
        for (text, variables) in [
            ("s3://team", &[][..]),
            ("az://sources", &[("AZURE_STORAGE_ACCOUNT_NAME", "corp"), ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")]),
        ] {
            open_with(&env(home.path(), variables), &url(text), &connector).await.unwrap();
        }
        let key = [("AZURE_STORAGE_ACCOUNT_NAME", "corp"), ("AZURE_STORAGE_ACCOUNT_KEY", "n0t base64!")];
        let error = open_with(&env(home.path(), &key), &url("az://sources"), &connector).await.unwrap_err();
        assert!(!format!("{error} {:?}", error.causes()).contains("n0t base64"), "{error}");
    }
}
