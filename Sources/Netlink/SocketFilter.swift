import CNetfilter
import Glibc
package import SystemPackage

/// A classic BPF program that decides in the kernel which datagrams a socket gets.
///
/// What it drops costs the process nothing and takes no room in the receive buffer. Needs no
/// privilege. Corresponds to `sock_fprog` and `SO_ATTACH_FILTER`.
package struct SocketFilter: Sendable, Hashable {
  /// One instruction.
  ///
  /// Corresponds to `sock_filter`.
  package struct Instruction: Sendable, Hashable {
    /// What to do (`code`).
    package var code: UInt16
    /// Instructions to skip if a test is true (`jt`).
    package var ifTrue: UInt8
    /// Instructions to skip if it is false (`jf`).
    package var ifFalse: UInt8
    /// The constant (`k`).
    package var operand: UInt32

    package init(
      _ code: UInt16, ifTrue: UInt8 = 0, ifFalse: UInt8 = 0, _ operand: UInt32 = 0
    ) {
      self.code = code
      self.ifTrue = ifTrue
      self.ifFalse = ifFalse
      self.operand = operand
    }
  }

  /// Instructions a program may have (`BPF_MAXINSNS`).
  package static let limit = 4096

  /// The program.
  package private(set) var instructions: [Instruction] = []

  package init() {}

  /// Appends another program, to be run where this one has not returned.
  package mutating func append(_ other: SocketFilter) {
    instructions += other.instructions
  }

  /// Attaches the program to a socket, in place of an earlier one.
  ///
  /// - Parameter descriptor: The socket.
  /// - Throws: The system's error number.
  package func attach(to descriptor: Int32) throws(Errno) {
    var code = instructions.map {
      sock_filter(code: $0.code, jt: $0.ifTrue, jf: $0.ifFalse, k: $0.operand)
    }
    let failure: Errno? = unsafe code.withUnsafeMutableBufferPointer { buffer in
      var program = unsafe sock_fprog(
        len: UInt16(truncatingIfNeeded: buffer.count), filter: buffer.baseAddress)
      let result = unsafe setsockopt(
        descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program,
        socklen_t(MemoryLayout<sock_fprog>.size))
      return result == 0 ? nil : Errno(rawValue: errno)
    }
    if let failure { throw failure }
  }
}

/// The instructions we need, by what they do; their C names stand beside them.
extension SocketFilter {
  /// Scratch memory for one number (`M[]`).
  package enum Slot: UInt32, Sendable { case first, second, third }

  private mutating func emit(
    _ code: UInt16, ifTrue: UInt8 = 0, ifFalse: UInt8 = 0, _ operand: UInt32 = 0
  ) {
    instructions.append(Instruction(code, ifTrue: ifTrue, ifFalse: ifFalse, operand))
  }

  /// `BPF_LD|BPF_B|BPF_ABS`: loads the byte at an offset.
  package mutating func loadByte(at offset: UInt32) { emit(0x30, offset) }

  /// `BPF_LD|BPF_MEM`: loads what was kept.
  package mutating func load(_ slot: Slot) { emit(0x60, slot.rawValue) }

  /// `BPF_ST`: keeps what is loaded.
  package mutating func keep(in slot: Slot) { emit(0x02, slot.rawValue) }

  /// Loads the offset of an attribute of the message whose attributes begin at an offset, 0 if it
  /// has none (`SKF_AD_NLATTR`).
  package mutating func findAttribute(_ type: UInt16, from offset: UInt32) {
    emit(0x00, offset)  // BPF_LD|BPF_IMM
    emit(0x01, UInt32(type))  // BPF_LDX|BPF_IMM
    emit(0x20, UInt32(bitPattern: -0x1000 + 12))
  }

  /// Loads the offset of an attribute inside the one whose offset is loaded, 0 if there is none
  /// (`SKF_AD_NLATTR_NEST`).
  package mutating func findNested(_ type: UInt16) {
    emit(0x01, UInt32(type))
    emit(0x20, UInt32(bitPattern: -0x1000 + 16))
  }

  /// Loads the number in network order that is the payload of the attribute whose offset is loaded.
  package mutating func loadPayload<Number: FixedWidthInteger>(_ type: Number.Type) {
    emit(0x07)  // BPF_MISC|BPF_TAX
    let size: UInt16 = Number.bitWidth == 8 ? 0x10 : Number.bitWidth == 16 ? 0x08 : 0
    emit(0x40 | size, 4)  // BPF_LD|BPF_IND behind the attribute's header
  }

  /// `BPF_RET`: lets the datagram pass.
  package mutating func pass() { emit(0x06, .max) }

  /// `BPF_RET`: drops the datagram.
  package mutating func drop() { emit(0x06, 0) }

  /// Lets the datagram pass if the loaded number is 0: an attribute that is not there decides nothing.
  package mutating func passIfZero() {
    emit(0x15, ifTrue: 0, ifFalse: 1, 0)  // BPF_JMP|BPF_JEQ
    pass()
  }

  /// Lets the datagram pass if the loaded number is within a range.
  package mutating func pass(ifIn range: ClosedRange<UInt16>) {
    if range.count == 1 {
      emit(0x15, ifTrue: 0, ifFalse: 1, UInt32(range.lowerBound))
    } else {
      emit(0x35, ifTrue: 0, ifFalse: 2, UInt32(range.lowerBound))  // BPF_JMP|BPF_JGE
      emit(0x25, ifTrue: 1, ifFalse: 0, UInt32(range.upperBound))  // BPF_JMP|BPF_JGT
    }
    pass()
  }

  /// Drops the datagram unless the loaded number is one of at most 255.
  package mutating func drop(unlessIn numbers: [UInt8]) {
    for (index, number) in numbers.enumerated() {
      emit(0x15, ifTrue: UInt8(truncatingIfNeeded: numbers.count - index), UInt32(number))
    }
    drop()
  }

  /// Drops the datagram unless the loaded number has one of the bits.
  package mutating func drop(unlessAnyOf bits: UInt32) {
    emit(0x45, ifTrue: 1, ifFalse: 0, bits)  // BPF_JMP|BPF_JSET
    drop()
  }

  /// Runs a program if the loaded number is the given one; it should return.
  package mutating func run(_ program: SocketFilter, if number: UInt32) {
    emit(0x15, ifTrue: 1, ifFalse: 0, number)
    emit(0x05, UInt32(program.instructions.count))  // BPF_JMP|BPF_JA
    append(program)
  }
}
