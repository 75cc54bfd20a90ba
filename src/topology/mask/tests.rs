//! No secret of a file is shown, and what is none is.

use super::*;

fn masked(text: &str, broken: bool) -> String {
    let masked = Mask::of_toml(text, broken).apply(text).into_owned();
    assert_eq!(masked.len(), text.len());
    masked
}

#[test]
fn no_secret_of_a_valid_file_is_shown_and_the_rest_is() {
    for (text, shown) in [
        (
            "client.sasl.password = \"hunter2\" # hunter2\nstate = 1",
            "client.sasl.password = ********* #********\nstate = 1",
        ),
        (
            "rest = { password = 'hunter2', url = \"x\" }",
            "rest = { password = *********, url = \"x\" }",
        ),
        (
            "\"sasl.jaas.config\" = \"\"\"\nhunter2\n hunter2\"\"\"\nstate = 1",
            "\"sasl.jaas.config\" = ***\n*******\n***********\nstate = 1",
        ),
        (
            "[clusters.a.client]\n\"ssl.keystore.key\" = 'hunter2'\nssl.ca.location = 'ca'",
            "[clusters.a.client]\n\"ssl.keystore.key\" = *********\nssl.ca.location = 'ca'",
        ),
        (
            "password = { env = \"NAME\" }\nsecret = { hunter2 = \"hunter2\" }",
            "password = { env = \"NAME\" }\nsecret = { ********= ********* }",
        ),
        (
            "\"p\\u0061ssword\" = \"hunter2\"",
            "\"p\\u0061ssword\" = *********",
        ),
        (
            "tokens = [\n \"hunter2\", # hunter2\n \"b\" ]\nstate = 1",
            "tokens = *\n*********************\n******\nstate = 1",
        ),
        (
            "sasl.password = ''\n# hunter2\nstate = 1\n# b",
            "sasl.password = **\n#********\nstate = 1\n# b",
        ),
        (
            "# sasl.password\nhunter2 = 'hunter2'\ntopics = []",
            "# sasl.password\n********= *********\ntopics = []",
        ),
        (
            "a = [ # sasl.password=hunter2\n 1 ]",
            "a = [ # sasl.password=*******\n 1 ]",
        ),
        (
            "[clusters.token]\nbootstrap_servers = \"a:1\"\n[links.secret.mirrors.tokens]\nas = \"x\"",
            "[clusters.token]\nbootstrap_servers = \"a:1\"\n[links.secret.mirrors.tokens]\nas = \"x\"",
        ),
        (
            "url = \"https://bob:hunter2@host:1/a@b\"",
            "url = \"https://**********************\"",
        ),
        (
            "url = \"https://bob\"\n\":hunter2@host/\" = 1\nulr = 1",
            "url = \"https://bob\"\n*****************= *\nulr = 1",
        ),
        (
            "url = \"https://b:1/a?hunter2\"",
            "url = \"https://b:1/a********\"",
        ),
        (
            "title = \"http://[::1]:80/a\"",
            "title = \"http://[::1]:80/a\"",
        ),
        (
            "title = \"http://bob:hunter2\"",
            "title = \"http://***********\"",
        ),
        (
            "title = \"http://a/bob:hunter2@b\"",
            "title = \"http://***************\"",
        ),
        ("password = \"grün\"", "password = *******"),
    ] {
        assert_eq!(masked(text, false), shown, "{text}");
    }
}

#[test]
fn no_secret_of_a_broken_file_is_shown() {
    for text in [
        "password = hunter2",
        "password hunter2",
        "password: hunter2",
        "\"sasl.password\" \"hunter2\"",
        "sasl.pasword = hunter2",
        "password = \"hunter2",
        "password = \"a\"hunter2\"",
        "rest = { url = \"x\", password = \"a\"hunter2, hunter2\" }",
        "rest = { url = \"x\", password \"hunter2\" }",
        "a = \"\"\"\nb = 1\npassword = \"hunter2\"",
        "a = [\npassword = \"hunter2\"\n",
        "password =\n  \"hunter2\"",
        "ssl.keystore.key = \"\"\n-----BEGIN PRIVATE KEY-----\nhunter2\nhunter2==\n",
        "ssl.keystore.key = \"\"\nhunter2\n\nhunter2==\nb = 1",
        "[clusters.a.client]\nssl.kez = hunter2",
        "clusters.a.client.ssl.kez = hunter2",
        "# password = hunter2\nx = ",
        "password = \"\"\"\nhunter2\n",
        "password = '''hunter2\n[links]\nhunter2",
        "client.\"sasl.password\" \n[,[ \"hunter2\"\n[clusters.b]",
        "client.sasl.oauthbearer.token.endpoint.url = \"https://bob\n:hunter2@b/\"\n",
        "client.sasl.oauthbearer.token.endpoint.url = \"https://bob\"\n:hunter2@b/\"\n",
        "rest.url = \"https://bob\"\n\n# or\na =:hunter2@b/\"\n",
        "client = { sasl.paswordaa \"hunter2\" }",
        "client = { x.y, \"hunter2\" }",
        "rest = { key \"hunter2\" }",
        "[links.l password \"hunter2\"\nhunter2",
        "[clusters.a.client ssl.kez = hunter2",
    ] {
        let shown = masked(text, true);
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
    assert_eq!(
        masked("state = active\nsecret = x\nstart = 1\n[links.a]", true),
        "state = active\nsecret = *\nstart = 1\n[links.a]"
    );
    assert_eq!(
        masked(
            "rest.url = \"https://b\"\nclient.\"sasl.mechanism\" = \"PLAIN\"\nacks = x\nrest.ssl.protocol = x",
            true
        ),
        "rest.url = \"https://b\"\nclient.\"sasl.mechanism\" = \"PLAIN\"\nacks = x\nrest.ssl.protocol = x"
    );
}
