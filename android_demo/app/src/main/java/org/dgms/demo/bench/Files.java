package org.dgms.demo.bench;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Reading and writing of whole files (java.nio.file is not on Android before API 26). */
final class Files {
  private static final int BLOCK = 1 << 16;

  private Files() {}

  /** A file's bytes. Files of /proc and /sys, whose length reads 0, work too. */
  static byte[] readBytes(File file) throws IOException {
    try (InputStream in = new FileInputStream(file)) {
      int expected = (int) Math.min(file.length(), 1 << 30);
      ByteArrayOutputStream bytes = new ByteArrayOutputStream(Math.max(BLOCK, expected));
      byte[] block = new byte[BLOCK];
      for (int n = in.read(block); n >= 0; n = in.read(block)) {
        bytes.write(block, 0, n);
      }
      return bytes.toByteArray();
    }
  }

  /** A UTF-8 file's text. */
  static String readText(File file) throws IOException {
    return new String(readBytes(file), StandardCharsets.UTF_8);
  }

  /**
   * Writes a file so that readers see the old content or the new, never a part: under a temporary name beside
   * it, flushed to the disk, then renamed.
   */
  static void writeAtomically(File file, byte[] content) throws IOException {
    File folder = file.getAbsoluteFile().getParentFile();
    if (!folder.isDirectory() && !folder.mkdirs() && !folder.isDirectory()) {
      throw new IOException("the folder must exist or be one that can be made. Received: " + folder);
    }
    File temporary = File.createTempFile("." + file.getName() + ".", ".part", folder);
    try {
      try (FileOutputStream out = new FileOutputStream(temporary)) {
        out.write(content);
        out.getFD().sync();
      }
      if (!temporary.renameTo(file)) {
        throw new IOException("a finished file could not be renamed to " + file);
      }
    } catch (IOException | RuntimeException e) {
      deleteQuietly(temporary);
      throw e;
    }
  }

  private static void deleteQuietly(File file) {
    if (!file.delete()) {
      file.deleteOnExit();
    }
  }

  /** The SHA-256 of a file, in hexadecimal. */
  static String sha256(File file) throws IOException {
    MessageDigest digest;
    try {
      digest = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
    try (InputStream in = new FileInputStream(file)) {
      byte[] block = new byte[BLOCK];
      for (int n = in.read(block); n >= 0; n = in.read(block)) {
        digest.update(block, 0, n);
      }
    }
    StringBuilder hex = new StringBuilder(64);
    for (byte b : digest.digest()) {
      hex.append(Character.forDigit((b >> 4) & 15, 16)).append(Character.forDigit(b & 15, 16));
    }
    return hex.toString();
  }
}
