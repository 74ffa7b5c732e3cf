//! Makes two programs from one compilation: one with relaxed SIMD, and one for browsers that do not have it.

use anyhow::{Context, Result, ensure};
use walrus::ir::{
    BinaryOp, Binop, Instr, InstrSeq, LocalGet, LocalSet, TernOp, TernaryOp, UnaryOp, Unop, VisitorMut,
    dfs_pre_order_mut,
};
use walrus::{FunctionKind, LocalId, Module, ValType};
use wasmparser::{Validator, WasmFeatures};

/// Removes relaxed SIMD from the module. `a * b + c` becomes two instructions. The relaxed minimum and maximum become
/// `pmin` and `pmax`, and the relaxed conversions the saturating ones: the specification of relaxed SIMD allows their
/// results. Returns the module's bytes.
///
/// # Errors
/// The module has no relaxed `a * b + c`, so it was compiled with other flags; or it has another relaxed instruction,
/// for which there is no rule here.
pub fn without(module: &mut Module) -> Result<Vec<u8>> {
    let (bytes, count) = lowered(module)?;
    ensure!(count > 0, "the program has no relaxed SIMD: is `+relaxed-simd` missing in .cargo/config.toml?");
    Ok(bytes)
}

/// Writes the module without relaxed SIMD, of which it may have none; gives its bytes, and how many instructions were
/// replaced.
///
/// # Errors
/// There is an instruction of relaxed SIMD for which there is no rule here.
pub fn lowered(module: &mut Module) -> Result<(Vec<u8>, usize)> {
    let mut count = 0;
    let locals = &mut module.locals;
    for function in module.funcs.iter_mut() {
        if let FunctionKind::Local(function) = &mut function.kind {
            let mut lower = Lower { addend: locals.add(ValType::V128), count: 0 };
            let entry = function.entry_block();
            dfs_pre_order_mut(&mut lower, function, entry);
            count += lower.count;
        }
    }
    let bytes = module.emit_wasm();
    Validator::new_with_features(WasmFeatures::default() - WasmFeatures::RELAXED_SIMD)
        .validate_all(&bytes)
        .context("xtask/src/relaxed.rs leaves an instruction of relaxed SIMD in the program")?;
    Ok((bytes, count))
}

/// Replaces the relaxed instructions of a function.
struct Lower {
    /// A local variable that holds `c` while `a * b` is computed.
    addend: LocalId,
    count: usize,
}

impl VisitorMut for Lower {
    fn start_instr_seq_mut(&mut self, sequence: &mut InstrSeq) {
        let mut plain = Vec::with_capacity(sequence.instrs.len());
        for (instruction, place) in std::mem::take(&mut sequence.instrs) {
            match instruction {
                Instr::TernOp(TernOp { op: TernaryOp::F32x4RelaxedMadd }) => {
                    self.count += 1;
                    plain.push((Instr::LocalSet(LocalSet { local: self.addend }), place));
                    plain.push((Instr::Binop(Binop { op: BinaryOp::F32x4Mul }), place));
                    plain.push((Instr::LocalGet(LocalGet { local: self.addend }), place));
                    plain.push((Instr::Binop(Binop { op: BinaryOp::F32x4Add }), place));
                }
                Instr::Binop(Binop { op }) => plain.push((Instr::Binop(Binop { op: strict_binary(op) }), place)),
                Instr::Unop(Unop { op }) => plain.push((Instr::Unop(Unop { op: strict_unary(op) }), place)),
                other => plain.push((other, place)),
            }
        }
        sequence.instrs = plain;
    }
}

/// The instruction in place of a relaxed minimum or maximum; any other stays as it is.
fn strict_binary(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::F32x4RelaxedMin => BinaryOp::F32x4PMin,
        BinaryOp::F32x4RelaxedMax => BinaryOp::F32x4PMax,
        BinaryOp::F64x2RelaxedMin => BinaryOp::F64x2PMin,
        BinaryOp::F64x2RelaxedMax => BinaryOp::F64x2PMax,
        other => other,
    }
}

/// The instruction in place of a relaxed conversion to whole numbers; any other stays as it is.
fn strict_unary(op: UnaryOp) -> UnaryOp {
    match op {
        UnaryOp::I32x4RelaxedTruncF32x4S => UnaryOp::I32x4TruncSatF32x4S,
        UnaryOp::I32x4RelaxedTruncF32x4U => UnaryOp::I32x4TruncSatF32x4U,
        UnaryOp::I32x4RelaxedTruncF64x2SZero => UnaryOp::I32x4TruncSatF64x2SZero,
        UnaryOp::I32x4RelaxedTruncF64x2UZero => UnaryOp::I32x4TruncSatF64x2UZero,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with a function `(v128, v128, v128) -> v128` of one instruction.
    fn module(op: TernaryOp) -> Module {
        let mut module = Module::default();
        let [a, b, c] = [(); 3].map(|()| module.locals.add(ValType::V128));
        let mut function = walrus::FunctionBuilder::new(&mut module.types, &[ValType::V128; 3], &[ValType::V128]);
        function.func_body().local_get(a).local_get(b).local_get(c).tern_op(op);
        let function = function.finish(vec![a, b, c], &mut module.funcs);
        module.exports.add("f", function);
        module
    }

    #[test]
    fn a_multiply_add_becomes_two_instructions() {
        let mut module = module(TernaryOp::F32x4RelaxedMadd);
        let validate = |bytes: &[u8]| {
            Validator::new_with_features(WasmFeatures::default() - WasmFeatures::RELAXED_SIMD)
                .validate_all(bytes)
                .is_ok()
        };
        assert!(!validate(&module.emit_wasm()), "the module has relaxed SIMD at first");
        assert!(validate(&without(&mut module).unwrap()));
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        let error = without(&mut Module::default()).unwrap_err().to_string();
        assert!(error.contains("+relaxed-simd"), "{error}");
        let error = without(&mut module(TernaryOp::F32x4RelaxedNmadd)).unwrap_err().to_string();
        assert!(error.contains("relaxed.rs"), "{error}");
        let mut both = module(TernaryOp::F32x4RelaxedMadd);
        let FunctionKind::Local(function) = &mut both.funcs.iter_mut().next().unwrap().kind else { panic!() };
        let entry = function.entry_block();
        let instructions = &mut function.block_mut(entry).instrs;
        let [a, b, last] = [0, 1, 3].map(|n| instructions[n].clone());
        let other = Instr::TernOp(TernOp { op: TernaryOp::F32x4RelaxedNmadd });
        // f(a, b, c) = nmadd(madd(a, b, c), a, b)
        let place = last.1;
        instructions.extend([a, b, (other, place)]);
        let error = without(&mut both).unwrap_err().to_string();
        assert!(error.contains("relaxed.rs"), "{error}");
    }
}
