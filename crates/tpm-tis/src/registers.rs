// SPDX-License-Identifier: BSD-2-Clause
//! The registers of the FIFO interface and their bits, by the names of the
//! TCG PC Client Platform TPM Profile (PTP).

/// Access bit: the other bits of the register are valid.
pub const ACCESS_VALID: u8 = 0x80;
/// Access bit: this locality is the active one; written, it is released.
pub const ACCESS_ACTIVE_LOCALITY: u8 = 0x20;
/// Access bit: asks for this locality; reads 1 while the request is pending.
pub const ACCESS_REQUEST_USE: u8 = 0x02;
/// The bits of ACCESS that read as zero: all ones is a dead bus.
pub const ACCESS_ZERO: u8 = 0x48;

/// Status bit: Expect and dataAvail are valid.
pub const STS_VALID: u32 = 0x80;
/// Status bit: the chip takes a command; written, the one under way is aborted.
pub const STS_COMMAND_READY: u32 = 0x40;
/// Status bit, written only: executes the command.
pub const STS_GO: u32 = 0x20;
/// Status bit: the FIFO has bytes of a response.
pub const STS_DATA_AVAIL: u32 = 0x10;
/// Status bit: the chip expects more bytes of the command.
pub const STS_EXPECT: u32 = 0x08;
/// Status bit, written only: the response is read again from its first byte.
pub const STS_RESPONSE_RETRY: u32 = 0x02;
/// Status bit, written only: the command is cancelled and answers TPM_RC_CANCELED.
pub const STS_COMMAND_CANCEL: u32 = 1 << 24;
/// Where the burst count of STS begins: 16 bits, in bytes.
pub const STS_BURST_SHIFT: u32 = 8;
/// The bits of STS that read as zero: all ones is a dead bus.
pub const STS_ZERO: u32 = 0x23;

/// Where the guard time of the I2C interface capability begins: 8 bits, in microseconds.
pub const I2C_GUARD_TIME_SHIFT: u32 = 9;
/// I2C capability bit: the guard time holds between a write and a write.
pub const I2C_GUARD_WRITE_WRITE: u32 = 1 << 17;
/// I2C capability bit: the guard time holds between a write and a read.
pub const I2C_GUARD_WRITE_READ: u32 = 1 << 18;
/// I2C capability bit: the guard time holds between a read and a write.
pub const I2C_GUARD_READ_WRITE: u32 = 1 << 19;
/// I2C capability bit: the guard time holds between a read and a read.
pub const I2C_GUARD_READ_READ: u32 = 1 << 20;
/// I2C capability bit: the guard time holds at a repeated start.
pub const I2C_GUARD_REPEATED_START: u32 = 1 << 30;
/// The bit of the I2C interface capability that reads as zero.
pub const I2C_CAPABILITY_ZERO: u32 = 1 << 31;

/// The address of the registers on SPI; locality n is at n << 12 from here.
pub const SPI_BASE: u32 = 0x00d4_0000;
/// The most data bytes of one SPI transaction.
pub const SPI_MOST: usize = 64;
/// The usual address of a TPM on an I2C bus.
pub const I2C_ADDRESS: u8 = 0x2e;

/// A register of the FIFO interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// TPM_LOC_SEL: the locality of the accesses that follow, on I2C.
    LocalitySelect,
    /// TPM_ACCESS: which locality is active.
    Access,
    /// TPM_STS: status, burst count and control.
    Status,
    /// TPM_DATA_FIFO: commands in, responses out.
    DataFifo,
    /// TPM_I2C_INTERFACE_CAPABILITY: guard times.
    I2cInterfaceCapability,
    /// TPM_I2C_DEVICE_ADDRESS: the chip's address on the bus.
    I2cDeviceAddress,
    /// TPM_DATA_CSUM_ENABLE: whether the chip computes checksums, on I2C.
    ChecksumEnable,
    /// TPM_DATA_CSUM: the checksum of the last command or response, on I2C.
    Checksum,
    /// TPM_DID_VID: vendor (low 16 bits) and device.
    DeviceVendor,
    /// TPM_RID: the chip's revision.
    Revision,
}

impl Register {
    /// Returns the name that the TCG's specification gives the register.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LocalitySelect => "TPM_LOC_SEL",
            Self::Access => "TPM_ACCESS",
            Self::Status => "TPM_STS",
            Self::DataFifo => "TPM_DATA_FIFO",
            Self::I2cInterfaceCapability => "TPM_I2C_INTERFACE_CAPABILITY",
            Self::I2cDeviceAddress => "TPM_I2C_DEVICE_ADDRESS",
            Self::ChecksumEnable => "TPM_DATA_CSUM_ENABLE",
            Self::Checksum => "TPM_DATA_CSUM",
            Self::DeviceVendor => "TPM_DID_VID",
            Self::Revision => "TPM_RID",
        }
    }

    /// Returns the register's address within its locality on SPI, and `None`
    /// for the registers that only I2C has.
    pub const fn spi(self) -> Option<u16> {
        match self {
            Self::Access => Some(0x00),
            Self::Status => Some(0x18),
            Self::DataFifo => Some(0x24),
            Self::DeviceVendor => Some(0xf00),
            Self::Revision => Some(0xf04),
            _ => None,
        }
    }

    /// Returns the register's address on I2C.
    pub const fn i2c(self) -> u8 {
        match self {
            Self::LocalitySelect => 0x00,
            Self::Access => 0x04,
            Self::Status => 0x18,
            Self::DataFifo => 0x24,
            Self::I2cInterfaceCapability => 0x30,
            Self::I2cDeviceAddress => 0x38,
            Self::ChecksumEnable => 0x40,
            Self::Checksum => 0x44,
            Self::DeviceVendor => 0x48,
            Self::Revision => 0x4c,
        }
    }
}

/// A value of the register STS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Returns whether all of `bits` are set.
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// Returns how many bytes the FIFO takes or gives without a wait.
    pub const fn burst(self) -> usize {
        (self.0 >> STS_BURST_SHIFT & 0xffff) as usize
    }

    /// Returns whether a bit is set that a TPM never sets.
    pub const fn is_garbage(self) -> bool {
        self.0 & STS_ZERO != 0
    }
}
