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
    let _screen = Screen::take().map_err(terminal)?;
    let mut frame = first;
    loop {
        draw(&frame).map_err(terminal)?;
        if is_ended(Instant::now() + REFRESH).map_err(terminal)? {
            return Ok(());
        }
        // A broker that is gone may come back.
        frame = match status(data) {
            Ok(status) => render::top(&status),
            Err(error) => {
                vec![format!("monedula: {error}"), String::new(), "Trying again each second.".to_owned()]
            }
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
    queue!(out, cursor::MoveTo(0, 0))?;
    // The last line is for the keys, and nothing is written where a terminal would scroll.
    let lines = usize::from(height).saturating_sub(1);
    for line in frame.iter().take(lines) {
        let line: String = line.chars().take(width.into()).collect();
        write!(out, "{line}")?;
        queue!(out, Clear(ClearType::UntilNewLine), cursor::MoveToNextLine(1))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    let hidden = frame.len().saturating_sub(lines);
    let more = if hidden > 0 { format!(", {hidden} lines more in a higher window") } else { String::new() };
    let help: String = format!("q ends{more}").chars().take(width.into()).collect();
    write!(out, "{help}")?;
    out.flush()
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
