//! The table of versions in the README is the one in the code.

use net::ApiKey;

#[test]
fn the_readme_lists_what_is_served() {
    let readme = include_str!("../README.md");
    let row = |cells: [String; 5]| format!("| {} |", cells.join(" | "));
    for &api_key in ApiKey::ALL {
        let flexible = match api_key.flexible_since() {
            i16::MAX => String::from("–"),
            version => version.to_string(),
        };
        let (served, advertised) = (api_key.served().to_string(), api_key.advertised().to_string());
        let row = row([api_key.key().to_string(), api_key.to_string(), served, advertised, flexible]);
        assert!(readme.lines().any(|line| line == row), "the README lacks this row:\n{row}");
    }
    let is_row = |line: &&str| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit();
    assert_eq!(readme.lines().filter(is_row).count(), ApiKey::ALL.len(), "the README lists too much");
}
