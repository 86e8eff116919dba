//! `harness report` through the real binary on a real run.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use crate::support::harness;

/// The first of two runs: `kv` of two engines, and `parity`, which samples by position.
const RUN: [&str; 10] = [
    "run",
    "--quick",
    "--suite",
    "kv",
    "--suite",
    "parity",
    "--engine",
    "reference",
    "--engine",
    "reference:weights=q4_0",
];

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{error}");
    error
}

/// Two runs in the default place, of which the second has a hostile model and engine.
fn two_runs(folder: &Path) {
    let arguments = [&RUN[..], &["--out", ".harness/runs/first"]].concat();
    ends(&harness(folder, &arguments), 0);
    let (first, second) = (
        folder.join(".harness/runs/first"),
        folder.join(".harness/runs/second"),
    );
    fs::create_dir(&second).unwrap();
    fs::copy(first.join("samples.csv"), second.join("samples.csv")).unwrap();
    let text = fs::read_to_string(first.join("run.json")).unwrap();
    let hostile = "<script>alert(1)</script>&\\\"'";
    let text = text
        .replace("harness-fixture-f16", hostile)
        .replace("\"branch\": \"", "\"branch\": \"<b>");
    let text = text.replace(
        "\"spec\": \"reference:weights=q4_0\"",
        "\"spec\": \"<script>alert(2)</script>\"",
    );
    fs::write(second.join("run.json"), text).unwrap();
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            pages.push(path);
        }
    }
    pages
}

/// What stands between `start` and `end`, each time.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let parts = text.split(start).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(end)?.0))
        .collect()
}

/// The page without what stands in its scripts and styles, which is no markup.
fn markup(page: &str) -> String {
    let mut text = page.to_owned();
    for (start, end) in [("<script", "</script>"), ("<style", "</style>")] {
        while let Some(from) = text.find(start) {
            let to = from + text[from..].find(end).unwrap() + end.len();
            text.replace_range(from..to, "");
        }
    }
    text
}

/// Every element that must be closed is, in order.
fn check_nesting(name: &Path, markup: &str) {
    const VOID: [&str; 4] = ["meta", "link", "input", "br"];
    let mut open: Vec<&str> = Vec::new();
    for tag in between(markup, "<", ">") {
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{}", name.display());
        } else if !tag.starts_with('!') && !tag.ends_with('/') {
            let element = tag.split_whitespace().next().unwrap();
            assert!(
                element.chars().all(|c| c.is_ascii_alphanumeric()),
                "<{tag}>"
            );
            if !VOID.contains(&element) {
                open.push(element);
            }
        }
    }
    assert!(open.is_empty(), "{}: {open:?}", name.display());
}

/// Every page is sound, every link leads somewhere, and every page is reached.
fn check_site(site: &Path) {
    let pages = pages(site);
    let mut reached = HashSet::from([site.join("index.html").canonicalize().unwrap()]);
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        // Nothing but our own script, and what plots show.
        assert!(!text.contains("<script>alert"), "{}", page.display());
        assert!(
            !text.contains("http://") || !text.contains("src=\"http"),
            "{}",
            page.display()
        );
        let markup = markup(&text);
        check_nesting(page, &markup);
        let mut ids = HashSet::new();
        for id in between(&markup, " id=\"", "\"") {
            assert!(ids.insert(id), "{}: {id} twice", page.display());
        }
        for link in between(&markup, "href=\"", "\"") {
            if link == "data:," {
                continue;
            }
            let target = page.parent().unwrap().join(link.replace("&#x2f;", "/"));
            let target = target.canonicalize();
            reached.insert(target.unwrap_or_else(|_| panic!("{}: {link}", page.display())));
        }
    }
    assert_eq!(reached.len(), pages.len(), "a page that no other leads to");
}

#[test]
fn every_page_is_sound_and_every_link_leads_somewhere() {
    let folder = TempDir::new().unwrap();
    two_runs(folder.path());
    let output = harness(folder.path(), &["report", "--out", "site"]);
    ends(&output, 0);
    let site = folder.path().join("site");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("site/index.html: 2 runs, "), "{said}");

    let pages = pages(&site);
    let names: HashSet<&PathBuf> = pages.iter().collect();
    for name in [
        "index.html",
        "run/first.html",
        "run/second.html",
        "metric/kv.growth.used_bytes.html",
    ] {
        assert!(names.contains(&site.join(name)), "{name}");
    }
    check_site(&site);
    let second = fs::read_to_string(site.join("run/second.html")).unwrap();
    assert!(second.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"));
    assert!(second.contains("KV cache resident against context"));
    assert!(second.contains("KL divergence by position"));

    // Once more over the same place, which is a report.
    ends(&harness(folder.path(), &["report", "--out", "site"]), 0);
}

#[test]
fn a_history_is_reported_with_what_is_at_hand() {
    let folder = TempDir::new().unwrap();
    two_runs(folder.path());
    let (first, second) = (".harness/runs/first", ".harness/runs/second");
    let report = |arguments: &[&str]| harness(folder.path(), &[&["report"], arguments].concat());
    ends(
        &harness(folder.path(), &["history", "add", first, second]),
        0,
    );
    // Of the second run there is what the history has.
    fs::remove_dir_all(folder.path().join(second)).unwrap();
    let output = report(&["--out", "site"]);
    ends(&output, 0);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("site/index.html: 2 runs, "), "{said}");
    let site = folder.path().join("site");
    check_site(&site);
    let page = |name: &str| fs::read_to_string(site.join("run").join(name)).unwrap();
    let plot = "KV cache resident against context";
    assert!(page("first.html").contains(plot) && !page("second.html").contains(plot));
    assert!(page("second.html").contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"));

    // A part of it; links lead to what it has.
    ends(&report(&["--metric", "kv.*", "--out", "part"]), 0);
    let part = folder.path().join("part");
    check_site(&part);
    let metrics = fs::read_dir(part.join("metric")).unwrap();
    assert!(
        metrics
            .flatten()
            .all(|entry| entry.file_name().to_string_lossy().starts_with("kv."))
    );

    // Folders that have moved are found by their content; one that is not of the history is not.
    let moved = folder.path().join("moved");
    fs::rename(folder.path().join(first), &moved).unwrap();
    fs::create_dir(folder.path().join("stranger")).unwrap();
    for file in ["run.json", "samples.csv"] {
        let text = fs::read_to_string(moved.join(file)).unwrap();
        let text = text.replace("harness-fixture-f16", "another");
        fs::write(folder.path().join("stranger").join(file), text).unwrap();
    }
    let url = "sqlite:.harness/history.db";
    let output = report(&[
        "--history",
        url,
        "--runs",
        "moved",
        "stranger",
        "--out",
        "site",
    ]);
    assert!(ends(&output, 0).contains("Left out: stranger"));
    assert!(page("first.html").contains(plot));

    for (arguments, why) in [
        (
            &["--branch", "nowhere"][..],
            "no run that the options admit",
        ),
        (
            &["--runs", "moved", "--branch", "main"],
            "there is no history to take a part of",
        ),
        (
            &["--history", "sqlite:nowhere.db"],
            "there is no history at",
        ),
    ] {
        let output = report(&[arguments, &["--out", "none"]].concat());
        assert!(ends(&output, 2).contains(why), "{why}");
    }
}

#[test]
fn postgresql_gives_the_report_that_sqlite_gives() {
    let Some(url) = crate::planted::postgres("report") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    two_runs(folder.path());
    let runs = [".harness/runs/first", ".harness/runs/second"];
    let mut reports = Vec::new();
    for (url, name) in [("sqlite:h.db", "lite"), (&*url, "post")] {
        let history = ["--history", url];
        let add = [&["history", "add"], &runs[..], &history].concat();
        ends(&harness(folder.path(), &add), 0);
        let site = [&["report", "--out", name], &history[..]].concat();
        let output = harness(folder.path(), &site);
        ends(&output, 0);
        let said = String::from_utf8(output.stdout).unwrap();
        check_site(&folder.path().join(name));
        let out = format!("{name}-summary");
        let summary = [
            &["report", "--format", "markdown", "--out", &out],
            &history[..],
        ];
        ends(&harness(folder.path(), &summary.concat()), 0);
        let text = fs::read_to_string(folder.path().join(&out).join("report.md")).unwrap();
        let mut names: Vec<String> = (pages(&folder.path().join(name)).iter())
            .map(|page| {
                page.strip_prefix(folder.path().join(name))
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        names.sort();
        reports.push((said.replace(name, ""), text, names));
    }
    assert!(reports[0] == reports[1], "{reports:?}");
    let part = [
        "report",
        "--history",
        &url,
        "--metric",
        "kv.*",
        "--out",
        "part",
    ];
    ends(&harness(folder.path(), &part), 0);
    check_site(&folder.path().join("part"));
    let none = [
        "report",
        "--history",
        &url,
        "--branch",
        "nowhere",
        "--out",
        "none",
    ];
    assert!(ends(&harness(folder.path(), &none), 2).contains("no run that the options admit"));
}

#[test]
fn one_picture_is_a_png() {
    let folder = TempDir::new().unwrap();
    two_runs(folder.path());
    ends(
        &harness(
            folder.path(),
            &["report", "--format", "png", "--out", "picture"],
        ),
        0,
    );
    let file = fs::read(folder.path().join("picture/report.png")).unwrap();
    assert!(file.starts_with(b"\x89PNG\r\n\x1a\n") && file.len() > 10_000);
}

#[test]
fn markdown_comes_with_its_plots() {
    let folder = TempDir::new().unwrap();
    two_runs(folder.path());
    let arguments = ["report", "--format", "markdown", "--out", "summary"];
    ends(&harness(folder.path(), &arguments), 0);
    let text = fs::read_to_string(folder.path().join("summary/report.md")).unwrap();
    assert!(!text.contains("<script>"), "{text}");
    let plots = between(&text, "](", ")");
    assert!(!plots.is_empty());
    for plot in plots {
        let svg = fs::read_to_string(folder.path().join("summary").join(plot)).unwrap();
        assert!(
            svg.starts_with("<svg")
                && svg.contains("prefers-color-scheme")
                && svg.trim_end().ends_with("</svg>")
        );
    }
}

#[test]
fn what_cannot_be_reported_is_bad_input_and_harms_nothing() {
    let folder = TempDir::new().unwrap();
    let error = ends(&harness(folder.path(), &["report", "--out", "site"]), 2);
    assert!(error.contains("no run records in .harness/runs"), "{error}");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let arguments = ["report", "--runs", "empty", "--out", "site"];
    assert!(ends(&harness(folder.path(), &arguments), 2).contains("no run records in empty"));

    let broken = folder.path().join("runs/broken");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("run.json"), "{").unwrap();
    let arguments = ["report", "--runs", "runs/broken", "--out", "site"];
    let error = ends(&harness(folder.path(), &arguments), 2);
    assert!(error.contains("runs/broken/run.json"), "{error}");
    assert!(!folder.path().join("site").exists());

    // Files that no report has left are not ours to replace.
    let mine = folder.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("thesis.txt"), "years of work").unwrap();
    ends(
        &harness(
            folder.path(),
            &[&RUN[..4], &["--out", "runs/good"]].concat(),
        ),
        0,
    );
    let error = ends(
        &harness(
            folder.path(),
            &["report", "--runs", "runs", "--out", "mine"],
        ),
        2,
    );
    assert!(
        error.contains("mine holds files that are no report"),
        "{error}"
    );
    assert!(mine.join("thesis.txt").exists());

    // Beside a good record a broken one is left out, and that is said.
    let output = harness(
        folder.path(),
        &["report", "--runs", "runs", "--out", "site"],
    );
    assert!(ends(&output, 0).contains("Left out: "));
    let index = fs::read_to_string(folder.path().join("site/index.html")).unwrap();
    assert!(index.contains("Left out: "));
}
