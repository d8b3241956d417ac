// Passwords that one can say on the phone.

const CONSONANTS = "bdfghjklmnprstvz";
const VOWELS = "aiou";

/**
 * Four words of 16 random bits each, as in `lusab-babad-gutih-tugad`.
 *
 * Proquints (Wilkerson 2009, arXiv:0901.4016): a consonant stands for four bits and a vowel for two, so that none is likelier
 * than another.
 */
export const generated = () => [...crypto.getRandomValues(new Uint16Array(4))].map(word).join("-");

/** @param {number} bits 16 */
const word = (bits) =>
  CONSONANTS[bits >> 12] + VOWELS[(bits >> 10) & 3] + CONSONANTS[(bits >> 6) & 15] + VOWELS[(bits >> 4) & 3] + CONSONANTS[bits & 15];
