package org.dgms.demo.bench;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.CRC32;
import java.util.zip.DeflaterOutputStream;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class PngImageTest {
  @Rule public final TemporaryFolder folder = new TemporaryFolder();

  @Test
  public void everyFilterOfEveryKindIsUndone() throws Exception {
    Random random = new Random(5);
    for (int channels : new int[] {1, 3}) {
      byte[] pixels = new byte[21 * 37 * channels];
      random.nextBytes(pixels);
      byte[] rows = new byte[21 * (37 * channels + 1)];
      for (int row = 0; row < 21; row++) {
        filter(row % 5, pixels, row, 37 * channels, channels, rows);
      }
      PngImage read = PngImage.read(png(37, 21, 8, channels == 3 ? 2 : 0, 0, rows));
      assertEquals(37, read.width());
      assertEquals(21, read.height());
      assertEquals(channels, read.channels());
      for (int i = 0; i < pixels.length; i++) {
        int pixel = i / channels;
        assertEquals(pixels[i] & 0xff, read.value(pixel / 37, pixel % 37, i % channels));
      }
    }
  }

  /**
   * What an encoder does (PNG specification, section 9): each byte less its prediction from the original's.
   */
  private static void filter(int filter, byte[] pixels, int row, int stride, int channels, byte[] rows) {
    rows[row * (stride + 1)] = (byte) filter;
    for (int i = 0; i < stride; i++) {
      int at = row * stride + i;
      int a = i < channels ? 0 : pixels[at - channels] & 0xff;
      int b = row == 0 ? 0 : pixels[at - stride] & 0xff;
      int c = i < channels || row == 0 ? 0 : pixels[at - stride - channels] & 0xff;
      int p = a + b - c;
      boolean aIsNearest = Math.abs(p - a) <= Math.abs(p - b) && Math.abs(p - a) <= Math.abs(p - c);
      int paeth = aIsNearest ? a : Math.abs(p - b) <= Math.abs(p - c) ? b : c;
      int[] predictions = {0, a, b, (a + b) / 2, paeth};
      rows[row * (stride + 1) + 1 + i] = (byte) (pixels[at] - predictions[filter]);
    }
  }

  /** A 2 x 5 RGB image in which row i is filtered by filter i, with its bytes worked out by hand. */
  @Test
  public void everyFilterIsUndone() throws Exception {
    byte[] rows = {
      0, 10, 20, 30, 40, 50, 60,
      1, 1, 2, 3, 10, 20, 30, // left: 1 2 3, 11 22 33
      2, 5, 5, 5, 5, 5, 5, // above: 6 7 8, 16 27 38
      3, 10, 10, 10, 10, 10, 10, // half of left + above: 13 13 14, then (13+16)/2, (13+27)/2, (14+38)/2
      4, 1, 1, 1, 2, 2, 2, // Paeth: 14 14 15 (above), then 24+2, 30+2, 36+2 (above)
    };
    int[][] expected = {
      {10, 20, 30, 40, 50, 60},
      {1, 2, 3, 11, 22, 33},
      {6, 7, 8, 16, 27, 38},
      {13, 13, 14, 24, 30, 36},
      {14, 14, 15, 26, 32, 38},
    };
    PngImage image = PngImage.read(png(2, 5, 8, 2, 0, rows));
    for (int row = 0; row < 5; row++) {
      for (int i = 0; i < 6; i++) {
        assertEquals("row " + row + " byte " + i, expected[row][i], image.value(row, i / 3, i % 3));
      }
    }
  }

  @Test
  public void otherKindsAreRefused() throws Exception {
    byte[] row = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    refused("8 bits a channel", png(2, 1, 8, 6, 0, row)); // with alpha
    refused("8 bits a channel", png(2, 1, 16, 0, 0, row));
    refused("8 bits a channel", png(2, 1, 8, 2, 1, row)); // interlaced
    refused("1 to 4096 pixels", png(0, 1, 8, 2, 0, row));
    refused("1 to 4096 pixels", png(1 << 20, 1 << 20, 8, 2, 0, row));
    refused("filter must be from 0 to 4", png(2, 1, 8, 2, 0, new byte[] {9, 1, 2, 3, 4, 5, 6}));
    refused("must be complete", png(2, 2, 8, 2, 0, row));
  }

  @Test
  public void damagedFilesAreRefused() throws Exception {
    byte[] whole = Files.readBytes(png(2, 1, 8, 2, 0, new byte[] {0, 1, 2, 3, 4, 5, 6}));
    File file = folder.newFile();
    int needed = whole.length - 12; // the last chunk says only that it is the last
    for (int length = 0; length < needed; length++) {
      Files.writeAtomically(file, Arrays.copyOf(whole, length));
      assertThrows("" + length, FormatException.class, () -> PngImage.read(file));
    }
    Files.writeAtomically(file, "GIF89a...".getBytes(StandardCharsets.US_ASCII));
    refused("the file must be a PNG", file);
    assertThrows(IOException.class, () -> PngImage.read(new File(folder.getRoot(), "missing")));
  }

  private static void refused(String part, File file) {
    String message = assertThrows(FormatException.class, () -> PngImage.read(file)).getMessage();
    assertTrue(message, message.contains(part) && message.startsWith(file.getName()));
  }

  private File png(int width, int height, int depth, int colour, int interlace, byte[] rows)
      throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    bytes.write(new byte[] {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'});
    ByteArrayOutputStream header = new ByteArrayOutputStream();
    DataOutputStream out = new DataOutputStream(header);
    out.writeInt(width);
    out.writeInt(height);
    out.write(new byte[] {(byte) depth, (byte) colour, 0, 0, (byte) interlace});
    chunk(bytes, "IHDR", header.toByteArray());
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    try (DeflaterOutputStream deflater = new DeflaterOutputStream(packed)) {
      deflater.write(rows);
    }
    byte[] data = packed.toByteArray();
    chunk(bytes, "IDAT", Arrays.copyOf(data, 5)); // the stream may be cut anywhere
    chunk(bytes, "IDAT", Arrays.copyOfRange(data, 5, data.length));
    chunk(bytes, "IEND", new byte[0]);
    File file = folder.newFile();
    Files.writeAtomically(file, bytes.toByteArray());
    return file;
  }

  private static void chunk(ByteArrayOutputStream bytes, String type, byte[] data) throws IOException {
    DataOutputStream out = new DataOutputStream(bytes);
    out.writeInt(data.length);
    byte[] name = type.getBytes(StandardCharsets.US_ASCII);
    out.write(name);
    out.write(data);
    CRC32 sum = new CRC32();
    sum.update(name);
    sum.update(data);
    out.writeInt((int) sum.getValue());
  }
}
