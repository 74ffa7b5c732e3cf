//! A trace as CSV (RFC 4180), one line for each assignment, for spreadsheets and data frames.

use super::trace::Trace;
use std::fmt::Write;

/// The trace with the columns `position,token_id,token,layer,rank,expert,weight,probability,surprise_bits`. `rank`
/// counts a token's experts from 0 by falling weight. `probability` is the router's, over all experts. `surprise_bits`
/// is empty where it was not computed.
pub fn csv(trace: &Trace) -> String {
    let mut csv = String::from("position,token_id,token,layer,rank,expert,weight,probability,surprise_bits\r\n");
    for (position, token) in trace.tokens.iter().enumerate() {
        let text = quoted(&token.text);
        let surprise = trace.surprise.get(position).filter(|_| position > 0).map(f32::to_string).unwrap_or_default();
        for layer in &trace.layers {
            let probabilities = layer.probabilities_of(position);
            let choices = layer.selected_of(position).iter().zip(layer.weights_of(position));
            for (rank, (&expert, weight)) in choices.enumerate() {
                let (id, number, probability) = (token.id, layer.layer, probabilities[expert as usize]);
                // Writing to a String cannot fail.
                let _ = write!(
                    csv,
                    "{position},{id},{text},{number},{rank},{expert},{weight},{probability},{surprise}\r\n"
                );
            }
        }
    }
    csv
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{LayerTrace, Token};

    #[test]
    fn a_line_an_assignment_with_quotes_where_needed() {
        let layer = LayerTrace {
            layer: 3,
            experts: 2,
            top_k: 2,
            router_logits: vec![0.0, 0.0],
            selected: vec![1, 0],
            weights: vec![0.75, 0.25],
            ..LayerTrace::default()
        };
        let token = Token { id: 7, text: "say \"a\",".into(), ..Token::default() };
        let trace = Trace { tokens: vec![token], layers: vec![layer], guesses: Vec::new(), surprise: vec![0.0] };
        let lines: Vec<String> = csv(&trace).split("\r\n").map(str::to_owned).collect();
        assert_eq!(lines.len(), 4, "a head, two assignments, the end");
        assert_eq!(lines[1], "0,7,\"say \"\"a\"\",\",3,0,1,0.75,0.5,");
        assert_eq!(lines[2], "0,7,\"say \"\"a\"\",\",3,1,0,0.25,0.5,");
    }
}
