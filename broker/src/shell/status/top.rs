//! `monedula top`: draws a frame each second until a key ends it.
//!
//! The frame is the text of `render`, so crossterm is all that is needed of a terminal library; ratatui would add
//! twenty crates for boxes around it.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue};

use super::client::{print, settled_status, settled_status_text, status};
use super::render;
use crate::shell::StartError;
use crate::shell::signals::StopSignals;

/// How often a frame is drawn.
const REFRESH: Duration = Duration::from_secs(1);

/// Shows what the broker of a data directory is at.
pub fn top(data: &Path, once: bool, json: bool) -> Result<(), StartError> {
    if json {
        return print(&settled_status_text(data)?);
    }
    if once {
        return print(&(render::top(&settled_status(data)?).join("\n") + "\n"));
    }
    let first = render::top(&status(data)?);
    if !io::stdout().is_terminal() {
        return Err(StartError("standard output is no terminal: print one frame with --once".to_owned()));
    }
    let terminal = |error: io::Error| StartError(format!("the terminal fails ({error}): try --once"));
    // A signal would end this before the screen is given back.
    let signals = StopSignals::block().map_err(terminal)?;
    let _screen = Screen::take().map_err(terminal)?;
    let mut frame = first;
    loop {
        draw(&frame).map_err(terminal)?;
        let ended = is_ended(Instant::now() + REFRESH).map_err(terminal)?;
        if ended || signals.wait(Duration::ZERO).is_some() {
            return Ok(());
        }
        // A broker that is gone may come back.
        frame = match status(data) {
            Ok(status) => render::top(&status),
            Err(error) => render::trouble(&error.to_string()),
        };
    }
}

/// The screen as it was, until this is dropped.
struct Screen;

impl Screen {
    fn take() -> io::Result<Screen> {
        terminal::enable_raw_mode()?;
        let screen = Screen;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let given_back = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        if let Err(error) = given_back.and_then(|()| terminal::disable_raw_mode()) {
            eprintln!("monedula: the terminal was not given back ({error}): type `reset`");
        }
    }
}

fn draw(frame: &[String]) -> io::Result<()> {
    let (width, height) = terminal::size()?;
    let mut out = io::stdout().lock();
    // At once, so that nobody sees a frame that is half drawn.
    out.write_all(&drawing(frame, width, height)?)?;
    out.flush()
}

/// What draws a frame on a terminal of that size.
fn drawing(frame: &[String], width: u16, height: u16) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    queue!(out, cursor::MoveTo(0, 0))?;
    // The last line is for the keys, and nothing is written where a terminal would scroll.
    let lines = usize::from(height).saturating_sub(1);
    for line in frame.iter().take(lines) {
        let line: String = line.chars().take(width.into()).collect();
        // Cleared before and not after: behind a line as wide as the terminal the cursor still stands on the last
        // column, and many a terminal (xterm's kind) would clear that.
        queue!(out, Clear(ClearType::UntilNewLine))?;
        write!(out, "{line}")?;
        queue!(out, cursor::MoveToNextLine(1))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    let hidden = frame.len().saturating_sub(lines);
    let more = if hidden > 0 { format!(", {hidden} lines more in a higher window") } else { String::new() };
    let help: String = format!("q ends{more}").chars().take(width.into()).collect();
    write!(out, "{help}")?;
    Ok(out)
}

/// Waits until then; true if a key asks for the end. Another size of the window asks for another frame.
fn is_ended(until: Instant) -> io::Result<bool> {
    while event::poll(until.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of xterm's kind shows in the end: the cursor stays on the last column behind a line that fills it.
    fn shown(drawing: &[u8], width: usize, height: usize) -> Vec<String> {
        let text = std::str::from_utf8(drawing).expect("it is text");
        let mut screen = vec![vec!['#'; width]; height];
        let (mut row, mut column) = (0, 0);
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if c != '\u{1b}' {
                assert!(row < height, "it scrolls");
                screen[row][column] = c;
                column = (column + 1).min(width - 1);
                continue;
            }
            let mut sequence = String::new();
            while !sequence.ends_with(|c: char| c.is_ascii_alphabetic()) {
                sequence.push(rest.next().expect("a sequence has an end"));
            }
            match sequence.as_str() {
                "[1;1H" => (row, column) = (0, 0),
                "[1E" => (row, column) = (row + 1, 0),
                "[K" => screen[row][column..].fill(' '),
                "[J" => {
                    screen[row][column..].fill(' ');
                    screen[row + 1..].iter_mut().for_each(|line| line.fill(' '));
                }
                other => panic!("what does {other:?} do?"),
            }
        }
        screen.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn a_frame_as_wide_as_the_terminal_loses_nothing() {
        let frame = ["topic  out/s".to_owned(), "orders".to_owned()];
        let check = |width: u16, height: u16, expect: &[&str]| {
            let drawing = drawing(&frame, width, height).expect("memory takes all");
            assert_eq!(shown(&drawing, width.into(), height.into()), expect);
        };
        check(12, 4, &["topic  out/s", "orders", "q ends", ""]);
        check(20, 3, &["topic  out/s", "orders", "q ends"]);
        // What does not fit is cut off, and the last line stays for the keys.
        check(10, 3, &["topic  out", "orders", "q ends"]);
        check(12, 2, &["topic  out/s", "q ends, 1 li"]);
        check(50, 1, &["q ends, 2 lines more in a higher window"]);
    }
}
