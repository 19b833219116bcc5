extension ConditionCompiler {
  /// `-m bpf`.
  func compileBPF(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, let text = options[0].only else { return nil }
    if options[0].name == "--object-pinned" {
      return [.undecidable(Missing(.outside, "match \"bpf\" runs a pinned program"))]
    }
    guard options[0].name == "--bytecode" else { return nil }
    var parts = text.split(separator: ",")[...]
    guard let count = parts.popFirst().flatMap({ Int($0) }), count > 0, count == parts.count else {
      return nil
    }
    var program: [BPFCondition.Instruction] = []
    for part in parts {
      let words = part.split(separator: " ").map { UInt32($0) }
      guard words.count == 4, let code = words[0], let yes = words[1], let no = words[2],
        let operand = words[3], code <= 0xffff, yes <= 255, no <= 255
      else { return nil }
      program.append(
        BPFCondition.Instruction(code: code, yes: Int(yes), no: Int(no), operand: operand))
    }
    return [.other(BPFCondition(program: program))]
  }
}

/// `-m bpf --bytecode`: a classic BPF program over the packet from its IP header on.
///
/// Jumps only lead forward, so a run ends after at most as many steps as there are instructions.
struct BPFCondition: MatchCondition {
  struct Instruction: Sendable {
    var code: UInt32
    var yes: Int
    var no: Int
    var operand: UInt32
  }

  var program: [Instruction]

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let image = PacketImage(situation, variant) else { return .unknown }
    var machine = Machine(image)
    return machine.run(program)
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(.payload, "match \"bpf\" hangs on what is in the packet")
  }

  private struct Machine {
    enum Loaded {
      case value(UInt32?)
      /// Beyond the packet: the program returns 0.
      case outside
    }

    let image: PacketImage
    var accumulator: UInt32? = 0
    var index: UInt32? = 0
    var memory: [UInt32?] = Array(repeating: 0, count: 16)

    init(_ image: PacketImage) { self.image = image }

    mutating func run(_ program: [Instruction]) -> Truth {
      var next = 0
      while next < program.count {
        let instruction = program[next]
        next += 1
        let usesIndex = instruction.code & 8 != 0
        let operand: UInt32? = usesIndex ? index : instruction.operand
        switch instruction.code & 7 {
        case 0, 1:
          switch load(instruction) {
          case .outside: return .no
          case .value(let value):
            if instruction.code & 7 == 0 { accumulator = value } else { index = value }
          }
        case 2, 3:
          guard instruction.operand < 16 else { return .unknown }
          memory[Int(instruction.operand)] = instruction.code & 7 == 2 ? accumulator : index
        case 4:
          if operand == 0, [0x30, 0x90].contains(instruction.code & 0xf0) { return .no }
          accumulator = accumulator.flatMap { left in
            operand.flatMap { Self.compute(instruction.code & 0xf0, left, $0) }
          }
        case 5:
          if instruction.code & 0xf0 == 0 {
            next += Int(min(instruction.operand, 1 << 20))
            continue
          }
          guard let left = accumulator, let right = operand else { return .unknown }
          let holds: Bool
          switch instruction.code & 0xf0 {
          case 0x10: holds = left == right
          case 0x20: holds = left > right
          case 0x30: holds = left >= right
          case 0x40: holds = left & right != 0
          default: return .unknown
          }
          next += holds ? instruction.yes : instruction.no
        case 6:
          let result = instruction.code & 0x18 == 0x10 ? accumulator : instruction.operand
          return Truth(result.map { $0 != 0 })
        default:
          if instruction.code & 0xf8 == 0 { index = accumulator } else { accumulator = index }
        }
      }
      return .unknown
    }

    private func load(_ instruction: Instruction) -> Loaded {
      let isIndex = instruction.code & 7 == 1
      var offset = Int(instruction.operand)
      switch instruction.code & 0xe0 {
      case 0x00: return .value(instruction.operand)
      case 0x20: break
      case 0x40:
        guard let index else { return .value(nil) }
        offset += Int(index)
      case 0x60: return .value(offset < 16 ? memory[offset] : nil)
      case 0x80: return .value(UInt32(image.count))
      case 0xa0 where isIndex:
        guard offset < image.count else { return .outside }
        return .value(image[offset].map { UInt32($0 & 0xf) << 2 })
      default: return .value(nil)
      }
      // Offsets in the upper half ask for the kernel's own data about the packet.
      guard instruction.operand < 0x8000_0000 else { return .value(nil) }
      let width = instruction.code & 0x18 == 0 ? 4 : instruction.code & 0x18 == 8 ? 2 : 1
      guard offset + width <= image.count else { return .outside }
      var value: UInt32 = 0
      for place in offset..<offset + width {
        guard let byte = image[place] else { return .value(nil) }
        value = value << 8 | UInt32(byte)
      }
      return .value(value)
    }

    private static func compute(_ operation: UInt32, _ left: UInt32, _ right: UInt32) -> UInt32? {
      switch operation {
      case 0x00: left &+ right
      case 0x10: left &- right
      case 0x20: left &* right
      case 0x30: right == 0 ? nil : left / right
      case 0x40: left | right
      case 0x50: left & right
      case 0x60: right < 32 ? left << right : nil
      case 0x70: right < 32 ? left >> right : nil
      case 0x80: 0 &- left
      case 0x90: right == 0 ? nil : left % right
      case 0xa0: left ^ right
      default: nil
      }
    }
  }
}
